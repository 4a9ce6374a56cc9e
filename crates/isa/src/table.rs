//! The table: one row a feature. Everything else in this crate comes from it.
//!
//! # The columns
//! ```text
//! /// what it is, in one line
//! id  variant  "name"  place  state  class  vendor  instructions  spelling  [aliases]  [dependencies]
//! ```
//! - **id**: goes over the wire, into the shared page and into the C header. Rows are only ever
//!   appended; a row is never renumbered and never removed. `tests/ids.txt` holds the list that has
//!   been published.
//! - **name**: what Linux prints in `/proc/cpuinfo`; **spelling** says where the name is from if
//!   Linux prints none.
//! - **place**: `leaf(leaf, subleaf, register, bit)`, `msr(index, bit)`, or
//!   `field(leaf, subleaf, register, shift, width, at_least)` for a number.
//! - **state**: the bits of XCR0 that its instructions need.
//! - **class**: the default removal class (see [`RemovalClass`](crate::RemovalClass)), in a guest
//!   that runs Linux and has seen the bit at boot.
//! - **dependencies**: the features that must be there for this one to make sense.
//!
//! # Sources
//! Positions are checked against Linux (6.18 and later) `arch/x86/include/asm/cpufeatures.h`,
//! `arch/x86/kernel/cpu/scattered.c` and `arch/x86/kvm/reverse_cpuid.h`, QEMU 10
//! `target/i386/cpu.c`, and Xen (4.21) `cpufeatureset.h`. Dependencies come from Linux's `cpuid-deps.c`
//! and Xen's `gen-cpuid.py`. Where these disagree the row has a comment, and the stricter one was
//! taken. Rows whose spelling is `Manual` are in none of the three: their places are from Intel's
//! *Instruction Set Extensions Programming Reference* and AMD's *Architecture Programmer's Manual*,
//! volume 3, appendix E.

/// Calls the macro `$then` with the whole table.
macro_rules! with_table {
    ($then:ident) => {
        $then! {
            // ── User instructions: SSE3 to AVX2 ──
            /// Streaming SIMD Extensions 3: horizontal adds, LDDQU, MOVDDUP, FISTTP.
              0 Sse3               "pni"                  leaf(0x1, 0, Ecx, 0)          NO_STATE  Faulting Both    User   Cpuinfo    ["sse3"] [Sse2];
            // Linux hangs SSSE3 and SSE4.x on SSE2 directly; the chain here is Xen's, and no CPU breaks it.
            /// Supplemental SSE3: PSHUFB, PALIGNR, PABS, PMADDUBSW.
              1 Ssse3              "ssse3"                leaf(0x1, 0, Ecx, 9)          NO_STATE  Faulting Both    User   Cpuinfo    [] [Sse3];
            /// SSE4.1: blends, rounds, DPPS, PMULLD, PTEST, MOVNTDQA.
              2 Sse41              "sse4_1"               leaf(0x1, 0, Ecx, 19)         NO_STATE  Faulting Both    User   Cpuinfo    ["sse41"] [Ssse3];
            /// SSE4.2: CRC32, PCMPGTQ and the string comparisons.
              3 Sse42              "sse4_2"               leaf(0x1, 0, Ecx, 20)         NO_STATE  Faulting Both    User   Cpuinfo    ["sse42"] [Sse41];
            // Faulting in user space, but Linux patches POPCNT into its own hweight() at boot.
            // Intel tells programs to look at SSE4.2 first; Xen and we do not make it a dependency.
            /// Count of set bits in a general register.
              4 Popcnt             "popcnt"               leaf(0x1, 0, Ecx, 23)         NO_STATE  Kernel   Both    User   Cpuinfo    [] [];
            // The kernel's aesni module uses it while loaded; the class is that of user code. So for pclmulqdq.
            /// AES rounds and key schedule on XMM registers.
              5 Aes                "aes"                  leaf(0x1, 0, Ecx, 25)         NO_STATE  Faulting Both    User   Cpuinfo    ["aesni" "aes-ni"] [Sse2];
            /// Carry-less multiplication of 64-bit polynomials.
              6 Pclmulqdq          "pclmulqdq"            leaf(0x1, 0, Ecx, 1)          NO_STATE  Faulting Both    User   Cpuinfo    ["pclmul" "pclmuldq"] [Sse2];
            /// Load and store with the bytes reversed.
              7 Movbe              "movbe"                leaf(0x1, 0, Ecx, 22)         NO_STATE  Faulting Both    User   Cpuinfo    [] [];
            // The feature on which Linux enables YMM in XCR0: a host without it lacks the component, hence State.
            /// 256-bit floating-point vectors and the three-operand VEX encoding.
              8 Avx                "avx"                  leaf(0x1, 0, Ecx, 28)         YMM       State    Both    User   Cpuinfo    [] [Xsave Sse42];
            /// Conversion between half and single precision.
              9 F16c               "f16c"                 leaf(0x1, 0, Ecx, 29)         YMM       Faulting Both    User   Cpuinfo    [] [Avx];
            /// Fused multiply-add with three operands (FMA3).
             10 Fma                "fma"                  leaf(0x1, 0, Ecx, 12)         YMM       Faulting Both    User   Cpuinfo    ["fma3"] [Avx];
            /// 256-bit integer vectors, gathers, cross-lane permutes.
             11 Avx2               "avx2"                 leaf(0x7, 0, Ebx, 5)          YMM       Faulting Both    User   Cpuinfo    [] [Avx];
            // ANDN, BEXTR, BLSI, BLSMSK, BLSR fault; TZCNT runs as BSF and leaves another result for 0.
            // One silent instruction is enough. VEX-encoded, but needs no XSAVE state.
            /// Bit manipulation 1: ANDN, BEXTR, BLSI, BLSMSK, BLSR, TZCNT.
             12 Bmi1               "bmi1"                 leaf(0x7, 0, Ebx, 3)          NO_STATE  Silent   Both    User   Cpuinfo    ["bmi"] [];
            /// Bit manipulation 2: BZHI, MULX, PDEP, PEXT, RORX, SARX, SHLX, SHRX.
             13 Bmi2               "bmi2"                 leaf(0x7, 0, Ebx, 8)          NO_STATE  Faulting Both    User   Cpuinfo    [] [];
            // Without it LZCNT runs as BSR: lzcnt(0x400) is 10 instead of 53.
            /// Advanced bit manipulation: LZCNT (AMD counts POPCNT in too).
             14 Abm                "abm"                  leaf(0x8000_0001, 0, Ecx, 5)  NO_STATE  Silent   Both    User   Cpuinfo    ["lzcnt"] [];
            /// ADCX and ADOX: additions with two independent carry chains.
             15 Adx                "adx"                  leaf(0x7, 0, Ebx, 19)         NO_STATE  Faulting Both    User   Cpuinfo    [] [];
            /// SHA-1 and SHA-256 rounds and message schedule.
             16 ShaNi              "sha_ni"               leaf(0x7, 0, Ebx, 29)         NO_STATE  Faulting Both    User   Cpuinfo    ["sha"] [Sse2];
            // The AVX2 is Xen's; so for sm4.
            /// SHA-512 rounds and message schedule on YMM registers.
             17 Sha512             "sha512"               leaf(0x7, 1, Eax, 0)          YMM       Faulting Both    User   LinuxMacro [] [Avx2];
            /// The Chinese hash SM3.
             18 Sm3                "sm3"                  leaf(0x7, 1, Eax, 1)          YMM       Faulting Both    User   LinuxMacro [] [Avx];
            /// The Chinese block cipher SM4.
             19 Sm4                "sm4"                  leaf(0x7, 1, Eax, 2)          YMM       Faulting Both    User   LinuxMacro [] [Avx2];
            /// Galois field affine transforms and multiplication (SSE, VEX and EVEX forms).
             20 Gfni               "gfni"                 leaf(0x7, 0, Ecx, 8)          NO_STATE  Faulting Both    User   Cpuinfo    [] [Sse2];
            // Linux asks for AVX, Xen for AVX2 and AES; hardware without VAES faults on the 256-bit forms,
            // QEMU's TCG looks at AVX2 only and runs something else: silent there.
            /// AES rounds on YMM and ZMM registers.
             21 Vaes               "vaes"                 leaf(0x7, 0, Ecx, 9)          YMM       Faulting Both    User   Cpuinfo    [] [Aes Avx2];
            // Linux: AVX. Xen: AVX2 and PCLMULQDQ. We take the stricter.
            /// Carry-less multiplication on YMM and ZMM registers.
             22 Vpclmulqdq         "vpclmulqdq"           leaf(0x7, 0, Ecx, 10)         YMM       Faulting Both    User   Cpuinfo    [] [Pclmulqdq Avx2];
            // Linux: AVX. Xen: AVX2.
            /// VEX-encoded dot products of bytes and words (VPDPBUSD and kin).
             23 AvxVnni            "avx_vnni"             leaf(0x7, 1, Eax, 4)          YMM       Faulting Both    User   Cpuinfo    [] [Avx2];
            /// Dot products of signed and unsigned bytes in every combination.
             24 AvxVnniInt8        "avx_vnni_int8"        leaf(0x7, 1, Edx, 4)          YMM       Faulting Both    User   LinuxMacro ["avxvnniint8"] [Avx2];
            /// Dot products of signed and unsigned words in every combination.
             25 AvxVnniInt16       "avx_vnni_int16"       leaf(0x7, 1, Edx, 10)         YMM       Faulting Both    User   LinuxMacro ["avxvnniint16"] [Avx2];
            /// VEX-encoded 52-bit integer multiply-add.
             26 AvxIfma            "avx_ifma"             leaf(0x7, 1, Eax, 23)         YMM       Faulting Both    User   LinuxMacro ["avxifma"] [Avx2];
            /// Conversions from BF16 and FP16 that raise no exceptions.
             27 AvxNeConvert       "avx_ne_convert"       leaf(0x7, 1, Edx, 5)          YMM       Faulting Both    User   LinuxMacro ["avxneconvert"] [Avx];
            // Intercepted by KVM in places and used by the kernel's random pool: its loss panics in extract_entropy.
            /// Hardware random numbers, conditioned.
             28 Rdrand             "rdrand"               leaf(0x1, 0, Ecx, 30)         NO_STATE  Kernel   Both    User   Cpuinfo    ["rdrnd"] [];
            /// Hardware random numbers, raw entropy for seeding.
             29 Rdseed             "rdseed"               leaf(0x7, 0, Ebx, 18)         NO_STATE  Kernel   Both    User   Cpuinfo    [] [];
            // Patched into the kernel's entry code; gated by the hypervisor together with RDTSCP.
            /// Read IA32_TSC_AUX (the number of the CPU) into a register.
             30 Rdpid              "rdpid"                leaf(0x7, 0, Ecx, 22)         NO_STATE  Kernel   Both    User   Cpuinfo    [] [];
            /// Read the time stamp counter and IA32_TSC_AUX. The vDSO and read_tsc use it.
             31 Rdtscp             "rdtscp"               leaf(0x8000_0001, 0, Edx, 27) NO_STATE  Kernel   Both    User   Cpuinfo    [] [Tsc];
            // SLUB and other lockless lists patch it in.
            /// CMPXCHG16B.
             32 Cx16               "cx16"                 leaf(0x1, 0, Ecx, 13)         NO_STATE  Kernel   Both    User   Cpuinfo    ["cmpxchg16b"] [Lm Cx8];
            /// LAHF and SAHF in 64-bit mode.
             33 LahfLm             "lahf_lm"              leaf(0x8000_0001, 0, Ecx, 0)  NO_STATE  Faulting Both    User   Cpuinfo    ["lahf"] [Lm];

            // ── User instructions of AMD only, past and present ──
            /// EXTRQ, INSERTQ, MOVNTSS, MOVNTSD.
             34 Sse4a              "sse4a"                leaf(0x8000_0001, 0, Ecx, 6)  NO_STATE  Faulting Amd     User   Cpuinfo    [] [Sse3];
            /// AMD's own vector extension of the Bulldozer family: permutes, rotates, compares.
             35 Xop                "xop"                  leaf(0x8000_0001, 0, Ecx, 11) YMM       Faulting Amd     User   Cpuinfo    [] [Avx];
            /// Fused multiply-add with four operands.
             36 Fma4               "fma4"                 leaf(0x8000_0001, 0, Ecx, 16) YMM       Faulting Amd     User   Cpuinfo    [] [Avx];
            // XOP-encoded, but on general registers: needs no XSAVE state.
            /// Trailing bit manipulation.
             37 Tbm                "tbm"                  leaf(0x8000_0001, 0, Ecx, 21) NO_STATE  Faulting Amd     User   Cpuinfo    [] [];
            /// Single-precision pairs in MMX registers.
             38 ThreeDnow          "3dnow"                leaf(0x8000_0001, 0, Edx, 31) NO_STATE  Faulting Amd     User   Cpuinfo    ["3dnow!"] [Mmx];
            /// Second edition of 3DNow!.
             39 ThreeDnowExt       "3dnowext"             leaf(0x8000_0001, 0, Edx, 30) NO_STATE  Faulting Amd     User   Cpuinfo    [] [ThreeDnow];
            // Intel's 64-bit CPUs run both forms as NOP where the bit is clear.
            /// PREFETCH and PREFETCHW.
             40 ThreeDnowPrefetch  "3dnowprefetch"        leaf(0x8000_0001, 0, Ecx, 8)  NO_STATE  Hint     Both    User   Cpuinfo    ["prefetchw" "prfchw"] [];
            // Intel does not show the bit, yet SSE contains every one of these instructions: nothing is lost.
            /// The integer part of SSE on MMX registers.
             41 MmxExt             "mmxext"               leaf(0x8000_0001, 0, Edx, 22) NO_STATE  Hint     Amd     User   Cpuinfo    [] [Mmx];
            // Setting MXCSR.MM where it is missing raises #GP, not #UD.
            /// MXCSR.MM: unaligned memory operands for SSE arithmetic.
             42 MisalignSse        "misalignsse"          leaf(0x8000_0001, 0, Ecx, 7)  NO_STATE  Faulting Amd     User   Cpuinfo    [] [Sse];
            /// Light-weight profiling of the Bulldozer family.
             43 Lwp                "lwp"                  leaf(0x8000_0001, 0, Ecx, 15) LWP_STATE State    Amd     User   Cpuinfo    [] [Xsave];
            /// Zero a whole cache line.
             44 Clzero             "clzero"               leaf(0x8000_0008, 0, Ebx, 0)  NO_STATE  Faulting Amd     User   Cpuinfo    [] [];
            /// Read MPERF and APERF in user mode.
             45 Rdpru              "rdpru"                leaf(0x8000_0008, 0, Ebx, 4)  NO_STATE  Faulting Amd     User   Cpuinfo    [] [];
            // Linux uses MWAITX in its delay loop.
            /// MONITORX and MWAITX: wait for a store or a time-out, in user mode too.
             46 Mwaitx             "mwaitx"               leaf(0x8000_0001, 0, Ecx, 29) NO_STATE  Kernel   Amd     User   Cpuinfo    ["monitorx"] [];
            /// Wait until stores are committed to memory.
             47 Mcommit            "mcommit"              leaf(0x8000_0008, 0, Ebx, 8)  NO_STATE  Faulting Amd     User   Manual     [] [];

            // ── User instructions: moves, caches, waiting, transactions ──
            /// Direct store of 4 or 8 bytes.
             48 Movdiri            "movdiri"              leaf(0x7, 0, Ecx, 27)         NO_STATE  Faulting Both    User   Cpuinfo    [] [];
            /// Direct store of 64 bytes.
             49 Movdir64b          "movdir64b"            leaf(0x7, 0, Ecx, 28)         NO_STATE  Faulting Both    User   Cpuinfo    [] [];
            // Linux chooses the flush instruction by alternatives.
            /// Write a cache line back without evicting it.
             50 Clwb               "clwb"                 leaf(0x7, 0, Ebx, 24)         NO_STATE  Kernel   Both    User   Cpuinfo    [] [Clflush];
            /// Flush a cache line, weakly ordered.
             51 Clflushopt         "clflushopt"           leaf(0x7, 0, Ebx, 23)         NO_STATE  Kernel   Both    User   Cpuinfo    [] [Clflush];
            // A NOP where it is missing.
            /// Hint to move a cache line outward.
             52 Cldemote           "cldemote"             leaf(0x7, 0, Ecx, 25)         NO_STATE  Hint     Intel   User   Cpuinfo    [] [];
            // Linux uses TPAUSE in its delay loop; hypervisors gate UMWAIT and TPAUSE.
            /// UMONITOR, UMWAIT, TPAUSE: short waits in user mode.
             53 Waitpkg            "waitpkg"              leaf(0x7, 0, Ecx, 5)          NO_STATE  Kernel   Intel   User   Cpuinfo    [] [];
            /// Serialize instruction execution; Linux patches it into sync_core().
             54 Serialize          "serialize"            leaf(0x7, 0, Edx, 14)         NO_STATE  Kernel   Intel   User   Cpuinfo    [] [];
            // The PASID lives in a supervisor component (IA32_XSS bit 10).
            /// ENQCMD and ENQCMDS: enqueue a 64-byte command to a device.
             55 Enqcmd             "enqcmd"               leaf(0x7, 0, Ecx, 29)         NO_STATE  Kernel   Intel   User   Cpuinfo    [] [Xsaves Movdir64b];
            // REP MOVS computes the same without these four: they tell speed only. Linux patches its copy loops
            // by FSRM and ERMS, and what it patched in still runs, slower.
            /// Fast short REP MOVSB.
             56 Fsrm               "fsrm"                 leaf(0x7, 0, Edx, 4)          NO_STATE  Hint     Both    None   Cpuinfo    [] [];
            /// Enhanced REP MOVSB and STOSB.
             57 Erms               "erms"                 leaf(0x7, 0, Ebx, 9)          NO_STATE  Hint     Both    None   Cpuinfo    [] [];
            /// Fast zero-length REP MOVSB.
             58 Fzrm               "fzrm"                 leaf(0x7, 1, Eax, 10)         NO_STATE  Hint     Intel   None   LinuxMacro [] [];
            /// Fast short REP STOSB.
             59 Fsrs               "fsrs"                 leaf(0x7, 1, Eax, 11)         NO_STATE  Hint     Intel   None   LinuxMacro [] [];
            /// Fast short REP CMPSB and SCASB.
             60 Fsrc               "fsrc"                 leaf(0x7, 1, Eax, 12)         NO_STATE  Hint     Intel   None   LinuxMacro ["fsrcs"] [];
            /// Fast short REP STOSB, AMD's bit.
             61 AmdFsrs            "amd_fsrs"             leaf(0x8000_0021, 0, Eax, 10) NO_STATE  Hint     Amd     None   Xen        [] [];
            /// Fast short REP CMPSB, AMD's bit.
             62 AmdFsrc            "amd_fsrc"             leaf(0x8000_0021, 0, Eax, 11) NO_STATE  Hint     Amd     None   Xen        [] [];
            /// Fast short REP SCASB.
             63 Fsrsc              "fsrsc"                leaf(0x8000_0021, 0, Eax, 19) NO_STATE  Hint     Amd     None   Xen        [] [];
            /// Restricted transactional memory: XBEGIN, XEND, XABORT, XTEST.
             64 Rtm                "rtm"                  leaf(0x7, 0, Ebx, 11)         NO_STATE  Faulting Intel   User   Cpuinfo    [] [];
            // XACQUIRE and XRELEASE are prefixes that other CPUs ignore.
            /// Hardware lock elision.
             65 Hle                "hle"                  leaf(0x7, 0, Ebx, 4)          NO_STATE  Hint     Intel   User   Cpuinfo    [] [];
            // Xen: RTM. Linux: none.
            /// Suspend and resume the tracking of loads in a transaction.
             66 Tsxldtrk           "tsxldtrk"             leaf(0x7, 0, Edx, 16)         NO_STATE  Faulting Intel   User   Cpuinfo    ["tsx-ldtrk"] [Rtm];
            // Patched into entry code, context switch and paranoid handlers.
            /// RDFSBASE, WRFSBASE, RDGSBASE, WRGSBASE.
             67 Fsgsbase           "fsgsbase"             leaf(0x7, 0, Ebx, 0)          NO_STATE  Kernel   Both    User   Cpuinfo    [] [];
            // PKRU is at 0xA80, 0x980 or 0x340 in the standard XSAVE format, depending on the CPU.
            /// Protection keys for user pages: RDPKRU, WRPKRU.
             68 Pku                "pku"                  leaf(0x7, 0, Ecx, 3)          PKRU      State    Both    User   Cpuinfo    [] [Xsave Lm];
            // Mirrors CR4.PKE: what the operating system did, no property of the CPU.
            /// The operating system has enabled protection keys.
             69 Ospke              "ospke"                leaf(0x7, 0, Ecx, 4)          PKRU      Kernel   Both    None   Cpuinfo    [] [Pku];
            // Runs as NOP where it is missing; its components exist on few CPUs, and Linux dropped it in 5.6.
            /// Memory protection extension: bounds registers.
             70 Mpx                "mpx"                  leaf(0x7, 0, Ebx, 14)         BOUNDS    Silent   Intel   User   Cpuinfo    [] [Xsave];
            // Long NOP where it is missing.
            /// PREFETCHIT0 and PREFETCHIT1: prefetch code.
             71 Prefetchiti        "prefetchiti"          leaf(0x7, 1, Edx, 14)         NO_STATE  Hint     Intel   User   LinuxMacro [] [];
            // Xen calls this bit AMD_PREFETCHI and Intel's PREFETCHI; Linux and QEMU call this one so, and Intel's
            // PREFETCHITI.
            /// PREFETCHIT0 and PREFETCHIT1, AMD's bit.
             72 AmdPrefetchi       "prefetchi"            leaf(0x8000_0021, 0, Eax, 20) NO_STATE  Hint     Amd     User   LinuxMacro ["amd-prefetchi"] [];
            /// Prefetch for write into the second-level cache.
             73 Prefetchwt1        "prefetchwt1"          leaf(0x7, 0, Ecx, 0)          NO_STATE  Hint     Intel   User   Xen        [] [];
            /// Compare, and add under a condition, atomically.
             74 Cmpccxadd          "cmpccxadd"            leaf(0x7, 1, Eax, 7)          NO_STATE  Faulting Both    User   LinuxMacro [] [Lm];
            /// Remote atomic AADD, AAND, AOR, AXOR.
             75 RaoInt             "rao_int"              leaf(0x7, 1, Eax, 3)          NO_STATE  Faulting Intel   User   Manual     ["raoint"] [];
            // Its state is a supervisor component (IA32_XSS bit 14). No released Linux uses it.
            /// User-mode interrupts: SENDUIPI, UIRET, STUI, CLUI.
             76 Uintr              "uintr"                leaf(0x7, 0, Edx, 5)          NO_STATE  Faulting Intel   User   Xen        [] [Lm Xsaves];
            /// UIRET updates UIF from the saved flags.
             77 UiretUif           "uiret_uif"            leaf(0x7, 1, Edx, 17)         NO_STATE  Faulting Intel   None   Xen        [] [Uintr];
            /// User timer events.
             78 Utmr               "utmr"                 leaf(0x7, 1, Edx, 13)         NO_STATE  Faulting Intel   None   Xen        [] [Uintr];
            /// URDMSR and UWRMSR: chosen MSRs in user mode.
             79 UserMsr            "user_msr"             leaf(0x7, 1, Edx, 15)         NO_STATE  Faulting Intel   User   Xen        ["usermsr"] [Lm];
            /// Loads with a read-shared hint, and PREFETCHRST2.
             80 Movrs              "movrs"                leaf(0x7, 1, Eax, 31)         NO_STATE  Faulting Intel   User   LinuxMacro [] [Lm];
            /// PTWRITE: a value into the processor trace.
             81 Ptwrite            "ptwrite"              leaf(0x14, 0, Ebx, 4)         NO_STATE  Faulting Intel   User   Manual     [] [IntelPt];
            /// Key Locker: AES with wrapped keys. Unmerged in Linux, whose patches spell it so.
             82 KeyLocker          "keylocker"            leaf(0x7, 0, Ecx, 23)         NO_STATE  Faulting Intel   User   LinuxMacro ["kl" "key-locker"] [Sse2];
            /// Key Locker is enabled by firmware and operating system.
             83 Aeskle             "aeskle"               leaf(0x19, 0, Ebx, 0)         NO_STATE  Faulting Intel   None   Manual     [] [KeyLocker];
            /// Key Locker on eight blocks at a time.
             84 WideKl             "widekl"               leaf(0x19, 0, Ebx, 2)         NO_STATE  Faulting Intel   User   Manual     ["wide-kl"] [KeyLocker];

            // ── AVX-512 ──
            // The feature on which Linux enables opmask and ZMM in XCR0. Linux asks for AVX, Xen for AVX2.
            /// AVX-512 foundation: 512-bit vectors, mask registers, EVEX encoding.
             85 Avx512f            "avx512f"              leaf(0x7, 0, Ebx, 16)         ZMM       State    Both    User   Cpuinfo    [] [Avx2];
            /// AVX-512 on doublewords and quadwords.
             86 Avx512dq           "avx512dq"             leaf(0x7, 0, Ebx, 17)         ZMM       Faulting Both    User   Cpuinfo    [] [Avx512f];
            /// AVX-512 conflict detection, vector LZCNT.
             87 Avx512cd           "avx512cd"             leaf(0x7, 0, Ebx, 28)         ZMM       Faulting Both    User   Cpuinfo    [] [Avx512f];
            /// AVX-512 on bytes and words, 64-bit masks.
             88 Avx512bw           "avx512bw"             leaf(0x7, 0, Ebx, 30)         ZMM       Faulting Both    User   Cpuinfo    [] [Avx512f];
            /// AVX-512 instructions on XMM and YMM registers.
             89 Avx512vl           "avx512vl"             leaf(0x7, 0, Ebx, 31)         ZMM       Faulting Both    User   Cpuinfo    [] [Avx512f];
            /// AVX-512 52-bit integer multiply-add.
             90 Avx512ifma         "avx512ifma"           leaf(0x7, 0, Ebx, 21)         ZMM       Faulting Both    User   Cpuinfo    ["avx512-ifma"] [Avx512f];
            // From here on Linux asks for AVX512VL and Xen for AVX512BW (the manual for neither); we take Xen's,
            // since without BW the masks are too short for bytes, and AVX512F alone runs the 512-bit forms.
            /// AVX-512 byte permutes.
             91 Avx512vbmi         "avx512vbmi"           leaf(0x7, 0, Ecx, 1)          ZMM       Faulting Both    User   Cpuinfo    ["avx512-vbmi"] [Avx512bw];
            /// AVX-512 compress and expand of bytes and words, double shifts.
             92 Avx512vbmi2        "avx512_vbmi2"         leaf(0x7, 0, Ecx, 6)          ZMM       Faulting Both    User   Cpuinfo    ["avx512vbmi2"] [Avx512bw];
            /// AVX-512 dot products of bytes and words.
             93 Avx512vnni         "avx512_vnni"          leaf(0x7, 0, Ecx, 11)         ZMM       Faulting Both    User   Cpuinfo    ["avx512vnni"] [Avx512f];
            /// AVX-512 count of bits in bytes and words, VPSHUFBITQMB.
             94 Avx512bitalg       "avx512_bitalg"        leaf(0x7, 0, Ecx, 12)         ZMM       Faulting Both    User   Cpuinfo    ["avx512bitalg"] [Avx512bw];
            /// AVX-512 count of bits in doublewords and quadwords.
             95 Avx512vpopcntdq    "avx512_vpopcntdq"     leaf(0x7, 0, Ecx, 14)         ZMM       Faulting Both    User   Cpuinfo    ["avx512vpopcntdq"] [Avx512f];
            /// AVX-512 intersection of two vectors into a mask pair.
             96 Avx512vp2intersect "avx512_vp2intersect"  leaf(0x7, 0, Edx, 8)          ZMM       Faulting Both    User   Cpuinfo    ["avx512vp2intersect"] [Avx512f];
            /// AVX-512 conversions to BF16 and their dot product.
             97 Avx512bf16         "avx512_bf16"          leaf(0x7, 1, Eax, 5)          ZMM       Faulting Both    User   Cpuinfo    ["avx512bf16"] [Avx512bw];
            /// AVX-512 arithmetic in half precision.
             98 Avx512fp16         "avx512_fp16"          leaf(0x7, 0, Edx, 23)         ZMM       Faulting Intel   User   Cpuinfo    ["avx512fp16"] [Avx512bw];
            /// Xeon Phi: four iterations of word dot products.
             99 Avx5124vnniw       "avx512_4vnniw"        leaf(0x7, 0, Edx, 2)          ZMM       Faulting Intel   User   Cpuinfo    ["avx5124vnniw"] [Avx512f];
            /// Xeon Phi: four iterations of single-precision multiply-add.
            100 Avx5124fmaps       "avx512_4fmaps"        leaf(0x7, 0, Edx, 3)          ZMM       Faulting Intel   User   Cpuinfo    ["avx5124fmaps"] [Avx512f];
            /// Xeon Phi: gather and scatter prefetches.
            101 Avx512pf           "avx512pf"             leaf(0x7, 0, Ebx, 26)         ZMM       Faulting Intel   User   Cpuinfo    [] [Avx512f];
            /// Xeon Phi: exponential and reciprocal.
            102 Avx512er           "avx512er"             leaf(0x7, 0, Ebx, 27)         ZMM       Faulting Intel   User   Cpuinfo    [] [Avx512f];
            /// AVX-512 bit matrix multiply.
            103 Avx512bmm          "avx512_bmm"           leaf(0x8000_0021, 0, Eax, 23) ZMM       Faulting Amd     User   LinuxMacro [] [Avx512bw];

            // ── AVX10, AMX, APX ──
            // QEMU lets AVX10 depend on any vector length of leaf 0x24; Linux 6.18 does not name it, KVM does.
            /// AVX10: the converged vector ISA, version 1 or later; version in leaf 0x24.
            104 Avx10              "avx10"                leaf(0x7, 1, Edx, 19)         ZMM       Faulting Intel   User   Qemu       ["avx10.1"] [Avx512f];
            /// AVX10 version 2 or later: media, BF16 and minimum/maximum instructions.
            105 Avx10V2            "avx10_2"              field(0x24, 0, Ebx, 0, 8, 2)  ZMM       Faulting Intel   User   Manual     [] [Avx10];
            /// AVX10 on 128-bit vectors (reserved as 1 in newer manuals).
            106 Avx10L128          "avx10_128"            leaf(0x24, 0, Ebx, 16)        ZMM       Faulting Intel   None   Qemu       [] [Avx10];
            /// AVX10 on 256-bit vectors (reserved as 1 in newer manuals).
            107 Avx10L256          "avx10_256"            leaf(0x24, 0, Ebx, 17)        ZMM       Faulting Intel   None   Qemu       [] [Avx10];
            /// AVX10 on 512-bit vectors (reserved as 1 in newer manuals).
            108 Avx10L512          "avx10_512"            leaf(0x24, 0, Ebx, 18)        ZMM       Faulting Intel   None   Qemu       [] [Avx10];
            /// AVX10 forms of the byte and word dot products.
            109 Avx10VnniInt       "avx10_vnni_int"       leaf(0x24, 1, Ecx, 2)         ZMM       Faulting Intel   User   Qemu       [] [Avx10];
            // Linux: XFD. A process must ask for the state by arch_prctl(ARCH_REQ_XCOMP_PERM) first.
            /// AMX: tile registers and their configuration.
            110 AmxTile            "amx_tile"             leaf(0x7, 0, Edx, 24)         TILES     State    Intel   User   Cpuinfo    [] [Xsave Lm];
            /// AMX dot products of bytes.
            111 AmxInt8            "amx_int8"             leaf(0x7, 0, Edx, 25)         TILES     Faulting Intel   User   Cpuinfo    [] [AmxTile];
            /// AMX dot products of BF16.
            112 AmxBf16            "amx_bf16"             leaf(0x7, 0, Edx, 22)         TILES     Faulting Intel   User   Cpuinfo    [] [AmxTile];
            /// AMX dot products in half precision.
            113 AmxFp16            "amx_fp16"             leaf(0x7, 1, Eax, 21)         TILES     Faulting Intel   User   LinuxMacro [] [AmxTile];
            /// AMX products of complex half-precision numbers.
            114 AmxComplex         "amx_complex"          leaf(0x7, 1, Edx, 8)          TILES     Faulting Intel   User   LinuxMacro [] [AmxTile];
            /// AMX dot products in 8-bit floating point.
            115 AmxFp8             "amx_fp8"              leaf(0x1E, 1, Eax, 4)         TILES     Faulting Intel   User   LinuxMacro [] [AmxTile];
            /// AMX dot products in TF32.
            116 AmxTf32            "amx_tf32"             leaf(0x1E, 1, Eax, 6)         TILES     Faulting Intel   User   LinuxMacro [] [AmxTile];
            /// Moves and conversions between tiles and ZMM registers.
            117 AmxAvx512          "amx_avx512"           leaf(0x1E, 1, Eax, 7)         TILES_ZMM Faulting Intel   User   LinuxMacro [] [AmxTile Avx10V2];
            /// Tile loads with a read-shared hint.
            118 AmxMovrs           "amx_movrs"            leaf(0x1E, 1, Eax, 8)         TILES     Faulting Intel   User   LinuxMacro [] [AmxTile Movrs];
            /// APX: sixteen more general registers and new encodings.
            119 ApxF               "apx"                  leaf(0x7, 1, Edx, 21)         EGPRS     State    Intel   User   LinuxMacro ["apxf" "apx-f"] [Xsave Lm];
            /// APX: new conditional instructions, new data destination, no-flags forms.
            120 ApxNciNddNf        "apx_nci_ndd_nf"       leaf(0x29, 0, Ebx, 0)         EGPRS     Faulting Intel   User   Qemu       [] [ApxF];

            // ── User instructions of VIA and Zhaoxin (PadLock) ──
            /// PadLock random numbers (XSTORE).
            121 PadlockRng         "rng"                  leaf(0xC000_0001, 0, Edx, 2)  NO_STATE  Faulting Centaur User   Cpuinfo    ["xstore"] [];
            /// XSTORE is enabled.
            122 PadlockRngEn       "rng_en"               leaf(0xC000_0001, 0, Edx, 3)  NO_STATE  Faulting Centaur None   Cpuinfo    ["xstore-en"] [PadlockRng];
            /// PadLock AES (XCRYPT).
            123 PadlockAce         "ace"                  leaf(0xC000_0001, 0, Edx, 6)  NO_STATE  Faulting Centaur User   Cpuinfo    ["xcrypt"] [];
            /// XCRYPT is enabled.
            124 PadlockAceEn       "ace_en"               leaf(0xC000_0001, 0, Edx, 7)  NO_STATE  Faulting Centaur None   Cpuinfo    ["xcrypt-en"] [PadlockAce];
            /// PadLock AES, second edition.
            125 PadlockAce2        "ace2"                 leaf(0xC000_0001, 0, Edx, 8)  NO_STATE  Faulting Centaur User   Cpuinfo    [] [PadlockAce];
            /// The second edition is enabled.
            126 PadlockAce2En      "ace2_en"              leaf(0xC000_0001, 0, Edx, 9)  NO_STATE  Faulting Centaur None   Cpuinfo    [] [PadlockAce2];
            /// PadLock hash engine (XSHA1, XSHA256).
            127 PadlockPhe         "phe"                  leaf(0xC000_0001, 0, Edx, 10) NO_STATE  Faulting Centaur User   Cpuinfo    [] [];
            /// The hash engine is enabled.
            128 PadlockPheEn       "phe_en"               leaf(0xC000_0001, 0, Edx, 11) NO_STATE  Faulting Centaur None   Cpuinfo    [] [PadlockPhe];
            /// PadLock Montgomery multiplier.
            129 PadlockPmm         "pmm"                  leaf(0xC000_0001, 0, Edx, 12) NO_STATE  Faulting Centaur User   Cpuinfo    [] [];
            /// The Montgomery multiplier is enabled.
            130 PadlockPmmEn       "pmm_en"               leaf(0xC000_0001, 0, Edx, 13) NO_STATE  Faulting Centaur None   Cpuinfo    [] [PadlockPmm];

            // ── The baseline of x86-64: neither kernel nor program runs without these ──
            /// x87 floating point.
            131 Fpu                "fpu"                  leaf(0x1, 0, Edx, 0)          NO_STATE  Kernel   Both    User   Cpuinfo    [] [];
            /// Time stamp counter (RDTSC).
            132 Tsc                "tsc"                  leaf(0x1, 0, Edx, 4)          NO_STATE  Kernel   Both    User   Cpuinfo    [] [];
            /// Model-specific registers.
            133 Msr                "msr"                  leaf(0x1, 0, Edx, 5)          NO_STATE  Kernel   Both    Kernel Cpuinfo    [] [];
            /// Physical address extension.
            134 Pae                "pae"                  leaf(0x1, 0, Edx, 6)          NO_STATE  Kernel   Both    None   Cpuinfo    [] [];
            /// CMPXCHG8B.
            135 Cx8                "cx8"                  leaf(0x1, 0, Edx, 8)          NO_STATE  Kernel   Both    User   Cpuinfo    ["cmpxchg8b"] [];
            /// SYSENTER and SYSEXIT. AMD has them outside long mode only.
            136 Sep                "sep"                  leaf(0x1, 0, Edx, 11)         NO_STATE  Kernel   Both    User   Cpuinfo    [] [];
            /// Global pages.
            137 Pge                "pge"                  leaf(0x1, 0, Edx, 13)         NO_STATE  Kernel   Both    None   Cpuinfo    [] [];
            /// Conditional moves.
            138 Cmov               "cmov"                 leaf(0x1, 0, Edx, 15)         NO_STATE  Kernel   Both    User   Cpuinfo    [] [];
            /// Flush a cache line.
            139 Clflush            "clflush"              leaf(0x1, 0, Edx, 19)         NO_STATE  Kernel   Both    User   Cpuinfo    ["clfsh"] [];
            /// 64-bit integer vectors.
            140 Mmx                "mmx"                  leaf(0x1, 0, Edx, 23)         NO_STATE  Kernel   Both    User   Cpuinfo    [] [Fpu];
            /// FXSAVE and FXRSTOR.
            141 Fxsr               "fxsr"                 leaf(0x1, 0, Edx, 24)         NO_STATE  Kernel   Both    User   Cpuinfo    [] [Fpu];
            /// Single-precision vectors.
            142 Sse                "sse"                  leaf(0x1, 0, Edx, 25)         NO_STATE  Kernel   Both    User   Cpuinfo    [] [Fxsr];
            /// Double-precision and integer vectors.
            143 Sse2               "sse2"                 leaf(0x1, 0, Edx, 26)         NO_STATE  Kernel   Both    User   Cpuinfo    [] [Sse];
            // In compatibility mode only AMD has it, as only Intel has SYSENTER there: a 32-bit program that enters
            // the kernel by one faults on the other vendor's CPU, although both show both bits.
            /// SYSCALL and SYSRET.
            144 Syscall            "syscall"              leaf(0x8000_0001, 0, Edx, 11) NO_STATE  Kernel   Both    User   Cpuinfo    [] [];
            /// No-execute pages.
            145 Nx                 "nx"                   leaf(0x8000_0001, 0, Edx, 20) NO_STATE  Kernel   Both    None   Cpuinfo    ["xd"] [Pae];
            /// Long mode: the 64-bit architecture itself.
            146 Lm                 "lm"                   leaf(0x8000_0001, 0, Edx, 29) NO_STATE  Kernel   Both    None   Cpuinfo    ["i64" "64bit" "long-mode"] [Pae Sse2];

            // ── Paging, protection and processor control: the kernel's ──
            /// Virtual 8086 mode extensions.
            147 Vme                "vme"                  leaf(0x1, 0, Edx, 1)          NO_STATE  Kernel   Both    None   Cpuinfo    [] [];
            /// Debugging extensions (I/O breakpoints).
            148 De                 "de"                   leaf(0x1, 0, Edx, 2)          NO_STATE  Kernel   Both    None   Cpuinfo    [] [];
            /// 4 MiB pages.
            149 Pse                "pse"                  leaf(0x1, 0, Edx, 3)          NO_STATE  Kernel   Both    None   Cpuinfo    [] [];
            /// Machine check exception.
            150 Mce                "mce"                  leaf(0x1, 0, Edx, 7)          NO_STATE  Kernel   Both    None   Cpuinfo    [] [];
            /// Local APIC, present and enabled.
            151 Apic               "apic"                 leaf(0x1, 0, Edx, 9)          NO_STATE  Kernel   Both    None   Cpuinfo    [] [];
            /// Memory type range registers.
            152 Mtrr               "mtrr"                 leaf(0x1, 0, Edx, 12)         NO_STATE  Kernel   Both    None   Cpuinfo    [] [Msr];
            /// Machine check architecture.
            153 Mca                "mca"                  leaf(0x1, 0, Edx, 14)         NO_STATE  Kernel   Both    None   Cpuinfo    [] [Mce];
            /// Page attribute table.
            154 Pat                "pat"                  leaf(0x1, 0, Edx, 16)         NO_STATE  Kernel   Both    None   Cpuinfo    [] [];
            /// 36-bit addresses in 4 MiB pages.
            155 Pse36              "pse36"                leaf(0x1, 0, Edx, 17)         NO_STATE  Kernel   Both    None   Cpuinfo    [] [];
            /// Processor serial number.
            156 Psn                "pn"                   leaf(0x1, 0, Edx, 18)         NO_STATE  Kernel   Intel   None   Cpuinfo    ["psn"] [];
            /// Debug store. QEMU and Xen say ds; Linux's dts must not be taken for the thermal sensor (dtherm).
            157 Ds                 "dts"                  leaf(0x1, 0, Edx, 21)         NO_STATE  Kernel   Intel   None   Cpuinfo    ["ds"] [Msr];
            /// Thermal monitor and clock control MSRs.
            158 Acpi               "acpi"                 leaf(0x1, 0, Edx, 22)         NO_STATE  Kernel   Intel   None   Cpuinfo    [] [];
            /// The CPU snoops its own caches.
            159 SelfSnoop          "ss"                   leaf(0x1, 0, Edx, 27)         NO_STATE  Hint     Intel   None   Cpuinfo    [] [];
            // Topology, not an instruction: Linux clears it on CPUs with one thread.
            /// The count of logical CPUs in leaf 1 is valid.
            160 Ht                 "ht"                   leaf(0x1, 0, Edx, 28)         NO_STATE  Hint     Both    None   Cpuinfo    ["htt"] [];
            /// Thermal monitor.
            161 Tm                 "tm"                   leaf(0x1, 0, Edx, 29)         NO_STATE  Kernel   Intel   None   Cpuinfo    ["tm1"] [Acpi];
            /// An Itanium that runs x86 code.
            162 Ia64               "ia64"                 leaf(0x1, 0, Edx, 30)         NO_STATE  Kernel   Intel   None   Cpuinfo    [] [];
            /// Pending break enable.
            163 Pbe                "pbe"                  leaf(0x1, 0, Edx, 31)         NO_STATE  Kernel   Intel   None   Cpuinfo    [] [];
            /// 64-bit debug store.
            164 Dtes64             "dtes64"               leaf(0x1, 0, Ecx, 2)          NO_STATE  Kernel   Intel   None   Cpuinfo    [] [Ds Lm];
            // The kernel's idle loop uses them. In user mode they fault, whatever the bit says, unless the CPU has
            // an MSR to allow them and the kernel has set it.
            /// MONITOR and MWAIT.
            165 Monitor            "monitor"              leaf(0x1, 0, Ecx, 3)          NO_STATE  Kernel   Both    Kernel Cpuinfo    ["mwait"] [];
            /// Debug store filtered by privilege level.
            166 DsCpl              "ds_cpl"               leaf(0x1, 0, Ecx, 4)          NO_STATE  Kernel   Intel   None   Cpuinfo    ["dscpl"] [Ds];
            /// Hardware virtualization of Intel.
            167 Vmx                "vmx"                  leaf(0x1, 0, Ecx, 5)          NO_STATE  Kernel   Intel   Kernel Cpuinfo    [] [Lm];
            /// Safer mode extensions (GETSEC).
            168 Smx                "smx"                  leaf(0x1, 0, Ecx, 6)          NO_STATE  Kernel   Intel   Kernel Cpuinfo    [] [];
            /// Enhanced SpeedStep.
            169 Est                "est"                  leaf(0x1, 0, Ecx, 7)          NO_STATE  Kernel   Intel   None   Cpuinfo    ["eist"] [Msr];
            /// Thermal monitor 2.
            170 Tm2                "tm2"                  leaf(0x1, 0, Ecx, 8)          NO_STATE  Kernel   Intel   None   Cpuinfo    [] [];
            /// L1 context identifier.
            171 Cid                "cid"                  leaf(0x1, 0, Ecx, 10)         NO_STATE  Hint     Intel   None   Cpuinfo    ["cnxt-id"] [];
            /// IA32_DEBUG_INTERFACE: silicon debug.
            172 Sdbg               "sdbg"                 leaf(0x1, 0, Ecx, 11)         NO_STATE  Kernel   Intel   None   Cpuinfo    [] [];
            /// Task priority messages can be switched off.
            173 Xtpr               "xtpr"                 leaf(0x1, 0, Ecx, 14)         NO_STATE  Kernel   Intel   None   Cpuinfo    [] [];
            /// IA32_PERF_CAPABILITIES.
            174 Pdcm               "pdcm"                 leaf(0x1, 0, Ecx, 15)         NO_STATE  Kernel   Intel   None   Cpuinfo    [] [Msr];
            /// Process context identifiers in CR3.
            175 Pcid               "pcid"                 leaf(0x1, 0, Ecx, 17)         NO_STATE  Kernel   Both    None   Cpuinfo    [] [Lm];
            /// Prefetch from memory-mapped devices (direct cache access).
            176 Dca                "dca"                  leaf(0x1, 0, Ecx, 18)         NO_STATE  Hint     Intel   None   Cpuinfo    [] [];
            /// APIC accessed by MSRs.
            177 X2apic             "x2apic"               leaf(0x1, 0, Ecx, 21)         NO_STATE  Kernel   Both    None   Cpuinfo    [] [Apic Msr];
            /// APIC timer set by a TSC deadline.
            178 TscDeadline        "tsc_deadline_timer"   leaf(0x1, 0, Ecx, 24)         NO_STATE  Kernel   Both    None   Cpuinfo    ["tsc-deadline"] [Tsc Apic];
            /// XSAVE, XRSTOR, XGETBV, XSETBV: state beyond SSE.
            179 Xsave              "xsave"                leaf(0x1, 0, Ecx, 26)         NO_STATE  Kernel   Both    User   Cpuinfo    [] [Fxsr];
            // Mirrors CR4.OSXSAVE: what the operating system did, no property of the CPU.
            /// The operating system has enabled XSAVE. Not printed by Linux.
            180 OsXsave            "osxsave"              leaf(0x1, 0, Ecx, 27)         NO_STATE  Kernel   Both    None   LinuxMacro [] [Xsave];
            // Identity, not ability: set by hypervisors.
            /// The machine is virtual.
            181 Hypervisor         "hypervisor"           leaf(0x1, 0, Ecx, 31)         NO_STATE  Kernel   Both    None   Cpuinfo    [] [];
            /// IA32_TSC_ADJUST.
            182 TscAdjust          "tsc_adjust"           leaf(0x7, 0, Ebx, 1)          NO_STATE  Kernel   Both    None   Cpuinfo    [] [Tsc];
            /// Software guard extensions.
            183 Sgx                "sgx"                  leaf(0x7, 0, Ebx, 2)          NO_STATE  Kernel   Intel   User   Cpuinfo    [] [];
            // Negative bits: set means that less is saved. Neither changes a result; the merge rule decides.
            /// x87 data pointer updated on exceptions only.
            184 FdpExcptnOnly      "fdp_excptn_only"      leaf(0x7, 0, Ebx, 6)          NO_STATE  Hint     Both    None   LinuxMacro ["fdp-excp-only"] [Fpu];
            /// x87 code and data selectors are stored as zero.
            185 ZeroFcsFds         "zero_fcs_fds"         leaf(0x7, 0, Ebx, 13)         NO_STATE  Hint     Both    None   LinuxMacro ["no-fpu-sel"] [Fpu];
            /// The kernel cannot execute user pages.
            186 Smep               "smep"                 leaf(0x7, 0, Ebx, 7)          NO_STATE  Kernel   Both    None   Cpuinfo    [] [];
            /// INVPCID: flush the TLB by context.
            187 Invpcid            "invpcid"              leaf(0x7, 0, Ebx, 10)         NO_STATE  Kernel   Both    Kernel Cpuinfo    [] [];
            /// Cache quality-of-service monitoring.
            188 Cqm                "cqm"                  leaf(0x7, 0, Ebx, 12)         NO_STATE  Kernel   Both    None   Cpuinfo    ["pqm" "cmt"] [];
            /// Resource allocation (cache and bandwidth).
            189 RdtA               "rdt_a"                leaf(0x7, 0, Ebx, 15)         NO_STATE  Kernel   Both    None   Cpuinfo    ["pqe"] [];
            // Xen: NX, for the sake of its shadow paging. Linux: none.
            /// The kernel cannot touch user pages but between STAC and CLAC.
            190 Smap               "smap"                 leaf(0x7, 0, Ebx, 20)         NO_STATE  Kernel   Both    Kernel Cpuinfo    [] [];
            /// Persistent commit: withdrawn before any CPU shipped with it.
            191 Pcommit            "pcommit"              leaf(0x7, 0, Ebx, 22)         NO_STATE  Kernel   Intel   Kernel Qemu       [] [];
            /// Processor trace.
            192 IntelPt            "intel_pt"             leaf(0x7, 0, Ebx, 25)         NO_STATE  Kernel   Intel   None   Cpuinfo    ["proc-trace"] [Msr];
            /// SGDT, SIDT, SLDT, SMSW, STR fault in user mode.
            193 Umip               "umip"                 leaf(0x7, 0, Ecx, 2)          NO_STATE  Kernel   Both    None   Cpuinfo    [] [];
            // NOPs where it is missing: programs lose the protection without a fault. State in IA32_XSS bits 11, 12.
            /// CET shadow stacks. Linux prints user_shstk where it uses them.
            194 Shstk              "shstk"                leaf(0x7, 0, Ecx, 7)          NO_STATE  Silent   Both    User   LinuxMacro ["cet-ss"] [Xsaves];
            /// CET indirect branch tracking (ENDBR).
            195 Ibt                "ibt"                  leaf(0x7, 0, Edx, 20)         NO_STATE  Silent   Intel   User   Cpuinfo    ["cet-ibt"] [Xsaves];
            /// Supervisor shadow stacks survive events that interrupt a switch.
            196 CetSss             "cet_sss"              leaf(0x7, 1, Edx, 18)         NO_STATE  Kernel   Intel   None   Xen        [] [Shstk];
            /// Total memory encryption.
            197 Tme                "tme"                  leaf(0x7, 0, Ecx, 13)         NO_STATE  Kernel   Intel   None   Cpuinfo    [] [];
            /// Five-level page tables.
            198 La57               "la57"                 leaf(0x7, 0, Ecx, 16)         NO_STATE  Kernel   Both    None   Cpuinfo    [] [Lm];
            /// Debug exception on a bus lock.
            199 BusLockDetect      "bus_lock_detect"      leaf(0x7, 0, Ecx, 24)         NO_STATE  Kernel   Both    None   Cpuinfo    [] [];
            /// SGX launch control.
            200 SgxLc              "sgx_lc"               leaf(0x7, 0, Ecx, 30)         NO_STATE  Kernel   Intel   None   Cpuinfo    ["sgxlc"] [Sgx];
            /// Protection keys for supervisor pages.
            201 Pks                "pks"                  leaf(0x7, 0, Ecx, 31)         NO_STATE  Kernel   Intel   None   Qemu       [] [];
            /// SGX attestation services.
            202 SgxKeys            "sgx_keys"             leaf(0x7, 0, Edx, 1)          NO_STATE  Kernel   Intel   None   Xen        [] [Sgx];
            /// The package has cores of more than one kind.
            203 Hybrid             "hybrid_cpu"           leaf(0x7, 0, Edx, 15)         NO_STATE  Hint     Intel   None   LinuxMacro ["hybrid"] [];
            /// Platform configuration (keys of memory encryption).
            204 Pconfig            "pconfig"              leaf(0x7, 0, Edx, 18)         NO_STATE  Kernel   Intel   Kernel Cpuinfo    [] [];
            /// Architectural last branch records.
            205 ArchLbr            "arch_lbr"             leaf(0x7, 0, Edx, 19)         NO_STATE  Kernel   Intel   None   Cpuinfo    [] [Msr];
            /// User and kernel halves of the address space are told apart before paging.
            206 Lass               "lass"                 leaf(0x7, 1, Eax, 6)          NO_STATE  Kernel   Both    None   Cpuinfo    [] [Smap];
            /// Leaf 0x23 describes the performance counters.
            207 ArchPerfmonExt     "arch_perfmon_ext"     leaf(0x7, 1, Eax, 8)          NO_STATE  Kernel   Intel   None   LinuxMacro [] [];
            /// Flexible return and event delivery: a new way into the kernel.
            208 Fred               "fred"                 leaf(0x7, 1, Eax, 17)         NO_STATE  Kernel   Both    Kernel Cpuinfo    [] [Lkgs Wrmsrns Lm];
            /// Load the kernel's GS base with a selector.
            209 Lkgs               "lkgs"                 leaf(0x7, 1, Eax, 18)         NO_STATE  Kernel   Both    Kernel LinuxMacro [] [Lm];
            /// Write an MSR without serializing.
            210 Wrmsrns            "wrmsrns"              leaf(0x7, 1, Eax, 19)         NO_STATE  Kernel   Both    Kernel LinuxMacro [] [Msr];
            /// NMI source reporting.
            211 NmiSrc             "nmi_src"              leaf(0x7, 1, Eax, 20)         NO_STATE  Kernel   Intel   None   Manual     [] [Fred];
            /// Reset the history of the scheduler's hardware hints.
            212 Hreset             "hreset"               leaf(0x7, 1, Eax, 22)         NO_STATE  Kernel   Intel   Kernel Manual     [] [];
            // Pointers with tags raise #GP where it is missing.
            /// Upper bits of user pointers are ignored.
            213 Lam                "lam"                  leaf(0x7, 1, Eax, 26)         NO_STATE  Kernel   Intel   None   Cpuinfo    [] [Lm];
            /// RDMSRLIST and WRMSRLIST.
            214 Msrlist            "msrlist"              leaf(0x7, 1, Eax, 27)         NO_STATE  Kernel   Intel   Kernel Manual     [] [Lm Msr];
            /// INVD can be disabled after firmware is done.
            215 InvdDisable        "invd_disable_post_bios_done" leaf(0x7, 1, Eax, 30)         NO_STATE  Kernel   Intel   None   Manual     [] [];
            /// Protected processor inventory number, Intel.
            216 IntelPpin          "intel_ppin"           leaf(0x7, 1, Ebx, 0)          NO_STATE  Kernel   Intel   None   Cpuinfo    [] [];
            /// Bind a key to the platform.
            217 Pbndkb             "pbndkb"               leaf(0x7, 1, Ebx, 1)          NO_STATE  Kernel   Intel   Kernel Manual     [] [];
            /// RDMSR and WRMSRNS with the register number in the instruction.
            218 MsrImm             "msr_imm"              leaf(0x7, 1, Ecx, 5)          NO_STATE  Kernel   Intel   Kernel LinuxMacro [] [Msr];
            /// Static lockstep mode.
            219 Slsm               "slsm"                 leaf(0x7, 1, Edx, 24)         NO_STATE  Kernel   Intel   None   Xen        [] [];
            /// XSAVEOPT: save what was modified.
            220 Xsaveopt           "xsaveopt"             leaf(0xD, 1, Eax, 0)          NO_STATE  Kernel   Both    User   Cpuinfo    [] [Xsave];
            /// XSAVEC: compacted format. ld.so's lazy-binding trampoline uses it too.
            221 Xsavec             "xsavec"               leaf(0xD, 1, Eax, 1)          NO_STATE  Kernel   Both    User   Cpuinfo    [] [Xsave];
            /// XGETBV with ECX = 1: which components are in use.
            222 Xgetbv1            "xgetbv1"              leaf(0xD, 1, Eax, 2)          NO_STATE  Kernel   Both    User   Cpuinfo    [] [Xsave];
            /// XSAVES and XRSTORS: supervisor components.
            223 Xsaves             "xsaves"               leaf(0xD, 1, Eax, 3)          NO_STATE  Kernel   Both    Kernel Cpuinfo    [] [Xsavec];
            /// Extended feature disable: a trap at the first use of a component (AMX).
            224 Xfd                "xfd"                  leaf(0xD, 1, Eax, 4)          NO_STATE  Kernel   Intel   None   LinuxMacro [] [Xsaves Xgetbv1];

            // ── Power, thermal and performance monitoring: the kernel's ──
            /// Digital thermal sensor.
            225 Dtherm             "dtherm"               leaf(0x6, 0, Eax, 0)          NO_STATE  Kernel   Intel   None   Cpuinfo    [] [];
            /// Dynamic acceleration (turbo).
            226 Ida                "ida"                  leaf(0x6, 0, Eax, 1)          NO_STATE  Hint     Intel   None   Cpuinfo    ["turbo-boost"] [];
            /// The APIC timer always runs.
            227 Arat               "arat"                 leaf(0x6, 0, Eax, 2)          NO_STATE  Kernel   Both    None   Cpuinfo    [] [Apic];
            /// Power limit notification.
            228 Pln                "pln"                  leaf(0x6, 0, Eax, 4)          NO_STATE  Kernel   Intel   None   Cpuinfo    [] [];
            /// Package thermal status.
            229 Pts                "pts"                  leaf(0x6, 0, Eax, 6)          NO_STATE  Kernel   Intel   None   Cpuinfo    [] [];
            /// Hardware P-states.
            230 Hwp                "hwp"                  leaf(0x6, 0, Eax, 7)          NO_STATE  Kernel   Intel   None   Cpuinfo    [] [];
            /// Hardware P-states: notification.
            231 HwpNotify          "hwp_notify"           leaf(0x6, 0, Eax, 8)          NO_STATE  Kernel   Intel   None   Cpuinfo    [] [Hwp];
            /// Hardware P-states: activity window.
            232 HwpActWindow       "hwp_act_window"       leaf(0x6, 0, Eax, 9)          NO_STATE  Kernel   Intel   None   Cpuinfo    [] [Hwp];
            /// Hardware P-states: energy preference.
            233 HwpEpp             "hwp_epp"              leaf(0x6, 0, Eax, 10)         NO_STATE  Kernel   Intel   None   Cpuinfo    [] [Hwp];
            /// Hardware P-states: request for the package.
            234 HwpPkgReq          "hwp_pkg_req"          leaf(0x6, 0, Eax, 11)         NO_STATE  Kernel   Intel   None   Cpuinfo    [] [Hwp];
            /// Hardware P-states: change of the highest performance.
            235 HwpHighestPerfChange "hwp_highest_perf_change" leaf(0x6, 0, Eax, 15)         NO_STATE  Kernel   Intel   None   LinuxMacro [] [Hwp];
            /// Hardware feedback interface.
            236 Hfi                "hfi"                  leaf(0x6, 0, Eax, 19)         NO_STATE  Kernel   Intel   None   Cpuinfo    [] [];
            /// APERF and MPERF counters.
            237 AperfMperf         "aperfmperf"           leaf(0x6, 0, Ecx, 0)          NO_STATE  Kernel   Both    None   Cpuinfo    [] [];
            /// Energy performance bias.
            238 Epb                "epb"                  leaf(0x6, 0, Ecx, 3)          NO_STATE  Kernel   Intel   None   Cpuinfo    [] [];
            // Linux prints constant_tsc for it too, and on some old CPUs constant_tsc by model alone.
            /// Invariant TSC: constant rate, in every power state.
            239 NonstopTsc         "nonstop_tsc"          leaf(0x8000_0007, 0, Edx, 8)  NO_STATE  Kernel   Both    None   Cpuinfo    ["invtsc" "itsc"] [Tsc];
            /// Hardware P-states of AMD.
            240 HwPstate           "hw_pstate"            leaf(0x8000_0007, 0, Edx, 7)  NO_STATE  Kernel   Amd     None   Cpuinfo    [] [];
            /// Core performance boost.
            241 Cpb                "cpb"                  leaf(0x8000_0007, 0, Edx, 9)  NO_STATE  Hint     Amd     None   Cpuinfo    [] [];
            /// Read-only APERF and MPERF.
            242 Efro               "efro"                 leaf(0x8000_0007, 0, Edx, 10) NO_STATE  Kernel   Amd     None   Xen        [] [];
            /// Processor feedback interface.
            243 ProcFeedback       "proc_feedback"        leaf(0x8000_0007, 0, Edx, 11) NO_STATE  Kernel   Amd     None   Cpuinfo    [] [];
            /// Accumulated power mechanism.
            244 AccPower           "acc_power"            leaf(0x8000_0007, 0, Edx, 12) NO_STATE  Kernel   Amd     None   Cpuinfo    [] [];
            /// Recovery from an overflow of machine check banks.
            245 OverflowRecov      "overflow_recov"       leaf(0x8000_0007, 0, Ebx, 0)  NO_STATE  Kernel   Amd     None   Cpuinfo    [] [Mca];
            /// Containment of uncorrectable errors.
            246 Succor             "succor"               leaf(0x8000_0007, 0, Ebx, 1)  NO_STATE  Kernel   Amd     None   Cpuinfo    [] [Mca];
            /// Scalable machine check architecture.
            247 Smca               "smca"                 leaf(0x8000_0007, 0, Ebx, 3)  NO_STATE  Kernel   Amd     None   Cpuinfo    [] [Mca];
            /// Counter of retired instructions.
            248 Irperf             "irperf"               leaf(0x8000_0008, 0, Ebx, 1)  NO_STATE  Kernel   Amd     None   Cpuinfo    [] [];
            /// Collaborative processor performance control.
            249 Cppc               "cppc"                 leaf(0x8000_0008, 0, Ebx, 27) NO_STATE  Kernel   Amd     None   Cpuinfo    [] [];
            /// Branch sampling.
            250 Brs                "brs"                  leaf(0x8000_0008, 0, Ebx, 31) NO_STATE  Kernel   Amd     None   Cpuinfo    [] [];
            /// Performance monitoring, version 2.
            251 PerfmonV2          "perfmon_v2"           leaf(0x8000_0022, 0, Eax, 0)  NO_STATE  Kernel   Amd     None   Cpuinfo    [] [];
            /// Last branch records, version 2.
            252 AmdLbrV2           "amd_lbr_v2"           leaf(0x8000_0022, 0, Eax, 1)  NO_STATE  Kernel   Amd     None   Cpuinfo    [] [];
            /// Branch records and counters freeze together.
            253 AmdLbrPmcFreeze    "amd_lbr_pmc_freeze"   leaf(0x8000_0022, 0, Eax, 2)  NO_STATE  Kernel   Amd     None   Cpuinfo    [] [];

            // ── AMD's extended features: the kernel's ──
            /// FXSAVE may leave the XMM registers out (EFER.FFXSR, unused by Linux).
            254 FxsrOpt            "fxsr_opt"             leaf(0x8000_0001, 0, Edx, 25) NO_STATE  Hint     Amd     None   Cpuinfo    ["ffxsr"] [Fxsr];
            /// Athlon MP.
            255 Mp                 "mp"                   leaf(0x8000_0001, 0, Edx, 19) NO_STATE  Hint     Amd     None   Cpuinfo    [] [];
            /// 1 GiB pages.
            256 Gbpages            "pdpe1gb"              leaf(0x8000_0001, 0, Edx, 26) NO_STATE  Kernel   Both    None   Cpuinfo    ["page1gb" "1gb-hugepages"] [Lm];
            /// The logical CPUs of leaf 1 are cores, not threads.
            257 CmpLegacy          "cmp_legacy"           leaf(0x8000_0001, 0, Ecx, 1)  NO_STATE  Hint     Amd     None   Cpuinfo    [] [];
            /// Hardware virtualization of AMD.
            258 Svm                "svm"                  leaf(0x8000_0001, 0, Ecx, 2)  NO_STATE  Kernel   Amd     Kernel Cpuinfo    [] [];
            /// Extended APIC space.
            259 Extapic            "extapic"              leaf(0x8000_0001, 0, Ecx, 3)  NO_STATE  Kernel   Amd     None   Cpuinfo    [] [Apic];
            /// CR8 by LOCK MOV CR0 in 32-bit mode.
            260 Cr8Legacy          "cr8_legacy"           leaf(0x8000_0001, 0, Ecx, 4)  NO_STATE  Kernel   Amd     Kernel Cpuinfo    ["cr8legacy"] [];
            /// MSRs that tell which errata need a workaround.
            261 Osvw               "osvw"                 leaf(0x8000_0001, 0, Ecx, 9)  NO_STATE  Kernel   Amd     None   Cpuinfo    [] [];
            /// Instruction-based sampling.
            262 Ibs                "ibs"                  leaf(0x8000_0001, 0, Ecx, 10) NO_STATE  Kernel   Amd     None   Cpuinfo    [] [];
            /// SKINIT and STGI.
            263 Skinit             "skinit"               leaf(0x8000_0001, 0, Ecx, 12) NO_STATE  Kernel   Amd     Kernel Cpuinfo    [] [];
            /// Watchdog timer.
            264 Wdt                "wdt"                  leaf(0x8000_0001, 0, Ecx, 13) NO_STATE  Kernel   Amd     None   Cpuinfo    [] [];
            /// Translation cache extension.
            265 Tce                "tce"                  leaf(0x8000_0001, 0, Ecx, 17) NO_STATE  Kernel   Amd     None   Cpuinfo    [] [];
            /// NodeId MSR.
            266 NodeidMsr          "nodeid_msr"           leaf(0x8000_0001, 0, Ecx, 19) NO_STATE  Kernel   Amd     None   Cpuinfo    [] [];
            /// Leaves 0x8000001D and 0x8000001E describe the topology.
            267 Topoext            "topoext"              leaf(0x8000_0001, 0, Ecx, 22) NO_STATE  Kernel   Amd     None   Cpuinfo    [] [];
            /// Six core performance counters.
            268 PerfctrCore        "perfctr_core"         leaf(0x8000_0001, 0, Ecx, 23) NO_STATE  Kernel   Amd     None   Cpuinfo    [] [];
            /// Northbridge performance counters.
            269 PerfctrNb          "perfctr_nb"           leaf(0x8000_0001, 0, Ecx, 24) NO_STATE  Kernel   Amd     None   Cpuinfo    [] [];
            /// Address masks for data breakpoints.
            270 Bpext              "bpext"                leaf(0x8000_0001, 0, Ecx, 26) NO_STATE  Kernel   Amd     None   Cpuinfo    ["dbext"] [];
            /// Performance time stamp counter.
            271 Ptsc               "ptsc"                 leaf(0x8000_0001, 0, Ecx, 27) NO_STATE  Kernel   Amd     None   Cpuinfo    [] [];
            /// Last-level cache performance counters.
            272 PerfctrLlc         "perfctr_llc"          leaf(0x8000_0001, 0, Ecx, 28) NO_STATE  Kernel   Amd     None   Cpuinfo    [] [];
            /// Address masks for instruction breakpoints.
            273 AddrMaskExt        "addr_mask_ext"        leaf(0x8000_0001, 0, Ecx, 30) NO_STATE  Kernel   Amd     None   Manual     [] [];
            /// FXSAVE and XSAVE always handle the x87 error pointers.
            274 Xsaveerptr         "xsaveerptr"           leaf(0x8000_0008, 0, Ebx, 2)  NO_STATE  Kernel   Amd     None   Cpuinfo    ["rstr-fp-err-ptrs"] [Fxsr];
            /// INVLPGB and TLBSYNC: flush the TLBs of other CPUs.
            275 Invlpgb            "invlpgb"              leaf(0x8000_0008, 0, Ebx, 3)  NO_STATE  Kernel   Amd     Kernel LinuxMacro [] [];
            // Runs as WBINVD where it is missing: slower, and invalidates as well.
            /// Write caches back without invalidating them.
            276 Wbnoinvd           "wbnoinvd"             leaf(0x8000_0008, 0, Ebx, 9)  NO_STATE  Silent   Both    Kernel Cpuinfo    [] [];
            /// WBINVD and WBNOINVD can be interrupted.
            277 IntWbinvd          "int_wbinvd"           leaf(0x8000_0008, 0, Ebx, 13) NO_STATE  Kernel   Amd     None   Manual     [] [];
            /// EFER.LMSLE is gone.
            278 NoLmsle            "efer_lmsle_mbz"       leaf(0x8000_0008, 0, Ebx, 20) NO_STATE  Kernel   Amd     None   LinuxMacro ["no-lmsl" "efer-lmsle-unsupported"] [Lm];
            /// Protected processor inventory number, AMD.
            279 AmdPpin            "amd_ppin"             leaf(0x8000_0008, 0, Ebx, 23) NO_STATE  Kernel   Amd     None   Cpuinfo    [] [];
            /// SVM: nested page tables.
            280 Npt                "npt"                  leaf(0x8000_000A, 0, Edx, 0)  NO_STATE  Kernel   Amd     None   Cpuinfo    [] [Svm];
            /// SVM: virtual last branch records.
            281 Lbrv               "lbrv"                 leaf(0x8000_000A, 0, Edx, 1)  NO_STATE  Kernel   Amd     None   Cpuinfo    [] [Svm];
            /// SVM: lock MSR.
            282 SvmLock            "svm_lock"             leaf(0x8000_000A, 0, Edx, 2)  NO_STATE  Kernel   Amd     None   Cpuinfo    [] [Svm];
            /// SVM: next instruction pointer is saved.
            283 NripSave           "nrip_save"            leaf(0x8000_000A, 0, Edx, 3)  NO_STATE  Kernel   Amd     None   Cpuinfo    ["nrips"] [Svm];
            /// SVM: TSC rate MSR.
            284 TscScale           "tsc_scale"            leaf(0x8000_000A, 0, Edx, 4)  NO_STATE  Kernel   Amd     None   Cpuinfo    [] [Svm];
            /// SVM: clean bits.
            285 VmcbClean          "vmcb_clean"           leaf(0x8000_000A, 0, Edx, 5)  NO_STATE  Kernel   Amd     None   Cpuinfo    [] [Svm];
            /// SVM: flush by address space.
            286 FlushByAsid        "flushbyasid"          leaf(0x8000_000A, 0, Edx, 6)  NO_STATE  Kernel   Amd     None   Cpuinfo    [] [Svm];
            /// SVM: decode assists.
            287 DecodeAssists      "decodeassists"        leaf(0x8000_000A, 0, Edx, 7)  NO_STATE  Kernel   Amd     None   Cpuinfo    [] [Svm];
            /// SVM: pause filter.
            288 PauseFilter        "pausefilter"          leaf(0x8000_000A, 0, Edx, 10) NO_STATE  Kernel   Amd     None   Cpuinfo    ["pause-filter"] [Svm];
            /// SVM: threshold of the pause filter.
            289 PfThreshold        "pfthreshold"          leaf(0x8000_000A, 0, Edx, 12) NO_STATE  Kernel   Amd     None   Cpuinfo    [] [PauseFilter];
            /// SVM: virtual interrupt controller.
            290 Avic               "avic"                 leaf(0x8000_000A, 0, Edx, 13) NO_STATE  Kernel   Amd     None   Cpuinfo    [] [Svm];
            /// SVM: virtual VMSAVE and VMLOAD.
            291 VVmsaveVmload      "v_vmsave_vmload"      leaf(0x8000_000A, 0, Edx, 15) NO_STATE  Kernel   Amd     None   Cpuinfo    [] [Svm];
            /// SVM: virtual global interrupt flag.
            292 Vgif               "vgif"                 leaf(0x8000_000A, 0, Edx, 16) NO_STATE  Kernel   Amd     None   Cpuinfo    [] [Svm];
            /// SVM: guest mode execution trap.
            293 Gmet               "gmet"                 leaf(0x8000_000A, 0, Edx, 17) NO_STATE  Kernel   Amd     None   LinuxMacro [] [Npt];
            /// SVM: virtual x2APIC.
            294 X2avic             "x2avic"               leaf(0x8000_000A, 0, Edx, 18) NO_STATE  Kernel   Amd     None   Cpuinfo    [] [Avic];
            /// SVM: virtual SPEC_CTRL.
            295 VSpecCtrl          "v_spec_ctrl"          leaf(0x8000_000A, 0, Edx, 20) NO_STATE  Kernel   Amd     None   Cpuinfo    [] [Svm];
            /// SVM: virtual NMI. Linux prints vnmi for VMX too.
            296 Vnmi               "vnmi"                 leaf(0x8000_000A, 0, Edx, 25) NO_STATE  Kernel   Amd     None   Cpuinfo    [] [Svm];
            /// SVM: the VMCB address is checked.
            297 SvmeAddrChk        "svme_addr_chk"        leaf(0x8000_000A, 0, Edx, 28) NO_STATE  Kernel   Amd     None   LinuxMacro [] [Svm];
            /// SVM: threshold of bus locks.
            298 BusLockThreshold   "bus_lock_threshold"   leaf(0x8000_000A, 0, Edx, 29) NO_STATE  Kernel   Amd     None   LinuxMacro [] [Svm];
            /// SVM: intercept of an idle HLT.
            299 IdleHlt            "idle_hlt"             leaf(0x8000_000A, 0, Edx, 30) NO_STATE  Kernel   Amd     None   LinuxMacro [] [Svm];
            /// Secure memory encryption.
            300 Sme                "sme"                  leaf(0x8000_001F, 0, Eax, 0)  NO_STATE  Kernel   Amd     None   Cpuinfo    [] [];
            /// Secure encrypted virtualization.
            301 Sev                "sev"                  leaf(0x8000_001F, 0, Eax, 1)  NO_STATE  Kernel   Amd     None   Cpuinfo    [] [];
            /// VM page flush MSR.
            302 VmPageFlush        "vm_page_flush"        leaf(0x8000_001F, 0, Eax, 2)  NO_STATE  Kernel   Amd     None   LinuxMacro [] [Sev];
            /// SEV with encrypted state.
            303 SevEs              "sev_es"               leaf(0x8000_001F, 0, Eax, 3)  NO_STATE  Kernel   Amd     None   Cpuinfo    [] [Sev];
            /// SEV with secure nested paging.
            304 SevSnp             "sev_snp"              leaf(0x8000_001F, 0, Eax, 4)  NO_STATE  Kernel   Amd     None   Cpuinfo    [] [SevEs];
            /// SEV-SNP with a secure TSC.
            305 SnpSecureTsc       "snp_secure_tsc"       leaf(0x8000_001F, 0, Eax, 8)  NO_STATE  Kernel   Amd     None   LinuxMacro [] [SevSnp];
            /// Virtual TSC_AUX.
            306 VTscAux            "v_tsc_aux"            leaf(0x8000_001F, 0, Eax, 9)  NO_STATE  Kernel   Amd     None   LinuxMacro [] [SevEs];
            /// Caches are coherent across encryption domains.
            307 SmeCoherent        "sme_coherent"         leaf(0x8000_001F, 0, Eax, 10) NO_STATE  Kernel   Amd     None   LinuxMacro [] [Sme];
            /// SEV-ES swaps the debug registers.
            308 DebugSwap          "debug_swap"           leaf(0x8000_001F, 0, Eax, 14) NO_STATE  Kernel   Amd     None   Cpuinfo    [] [SevEs];
            /// A secure VM service module is present.
            309 Svsm               "svsm"                 leaf(0x8000_001F, 0, Eax, 28) NO_STATE  Kernel   Amd     None   Cpuinfo    [] [SevSnp];
            /// No nested data breakpoints.
            310 NoNestedDataBp     "no_nested_data_bp"    leaf(0x8000_0021, 0, Eax, 0)  NO_STATE  Kernel   Amd     None   LinuxMacro ["no-nest-bp"] [];
            /// Writes of the FS, GS and kernel GS base do not serialize.
            311 WrmsrXxBaseNs      "wrmsr_xx_base_ns"     leaf(0x8000_0021, 0, Eax, 1)  NO_STATE  Kernel   Amd     None   LinuxMacro ["fs-gs-base-ns" "fs-gs-ns"] [];
            /// LFENCE always serializes.
            312 LfenceRdtsc        "lfence_rdtsc"         leaf(0x8000_0021, 0, Eax, 2)  NO_STATE  Security Amd     None   LinuxMacro ["lfence-always-serializing" "lfence-dispatch"] [];
            /// A null selector clears base and limit.
            313 NullSelClrBase     "null_sel_clr_base"    leaf(0x8000_0021, 0, Eax, 6)  NO_STATE  Kernel   Amd     None   LinuxMacro ["nscb"] [];
            /// SMM_CTL MSR is not present.
            314 NoSmmCtlMsr        "no_smm_ctl_msr"       leaf(0x8000_0021, 0, Eax, 9)  NO_STATE  Kernel   Amd     None   LinuxMacro [] [];
            /// CPUID in user mode can be made to fault.
            315 CpuidUserDis       "gp_on_user_cpuid"     leaf(0x8000_0021, 0, Eax, 17) NO_STATE  Kernel   Amd     None   LinuxMacro ["cpuid-user-dis"] [];
            /// Enhanced predictive store forwarding.
            316 Epsf               "epsf"                 leaf(0x8000_0021, 0, Eax, 18) NO_STATE  Security Amd     None   Xen        [] [];

            // ── Speculation control: mitigations and bits that say they are not needed ──
            // Linux prints ibrs, ibpb, stibp and ssbd where either vendor's bit is there: no place of their own.
            // QEMU and libvirt call Intel's stibp and ssbd, and AMD's ibpb and ibrs; the aliases are theirs.
            /// IBRS and IBPB, Intel's bit.
            317 SpecCtrl           "spec_ctrl"            leaf(0x7, 0, Edx, 26)         NO_STATE  Security Intel   None   LinuxMacro ["ibrsb"] [];
            /// Single-thread indirect branch predictors, Intel's bit.
            318 IntelStibp         "intel_stibp"          leaf(0x7, 0, Edx, 27)         NO_STATE  Security Intel   None   LinuxMacro ["stibp"] [SpecCtrl];
            /// L1 data cache flush command.
            319 FlushL1d           "flush_l1d"            leaf(0x7, 0, Edx, 28)         NO_STATE  Security Both    None   Cpuinfo    ["l1d-flush"] [];
            /// IA32_ARCH_CAPABILITIES exists.
            320 ArchCapabilities   "arch_capabilities"    leaf(0x7, 0, Edx, 29)         NO_STATE  Security Intel   None   Cpuinfo    ["arch-caps"] [];
            /// IA32_CORE_CAPABILITIES exists.
            321 CoreCapabilities   "core_capabilities"    leaf(0x7, 0, Edx, 30)         NO_STATE  Security Intel   None   LinuxMacro ["core-capability" "core-caps"] [];
            /// Speculative store bypass disable, Intel's bit.
            322 SpecCtrlSsbd       "spec_ctrl_ssbd"       leaf(0x7, 0, Edx, 31)         NO_STATE  Security Intel   None   LinuxMacro ["ssbd"] [SpecCtrl];
            /// Control of the mitigation of special register data sampling.
            323 SrbdsCtrl          "srbds_ctrl"           leaf(0x7, 0, Edx, 9)          NO_STATE  Security Intel   None   LinuxMacro [] [];
            /// VERW clears the microarchitectural buffers.
            324 MdClear            "md_clear"             leaf(0x7, 0, Edx, 10)         NO_STATE  Security Intel   None   Cpuinfo    [] [];
            /// Every transaction aborts (microcode).
            325 RtmAlwaysAbort     "rtm_always_abort"     leaf(0x7, 0, Edx, 11)         NO_STATE  Security Intel   None   LinuxMacro [] [];
            /// Transactions can be made to abort.
            326 TsxForceAbort      "tsx_force_abort"      leaf(0x7, 0, Edx, 13)         NO_STATE  Security Intel   None   LinuxMacro [] [];
            /// Predictive store forwarding disable, Intel's bit.
            327 IntelPsfd          "intel_psfd"           leaf(0x7, 2, Edx, 0)          NO_STATE  Security Intel   None   Xen        [] [SpecCtrl];
            /// Control of indirect predictors.
            328 IpredCtrl          "ipred_ctrl"           leaf(0x7, 2, Edx, 1)          NO_STATE  Security Intel   None   Xen        [] [SpecCtrl];
            /// Control of RRSBA behaviour.
            329 RrsbaCtrl          "rrsba_ctrl"           leaf(0x7, 2, Edx, 2)          NO_STATE  Security Intel   None   LinuxMacro [] [SpecCtrl];
            /// Data-dependent prefetcher disable.
            330 DdpdU              "ddpd_u"               leaf(0x7, 2, Edx, 3)          NO_STATE  Security Intel   None   LinuxMacro ["ddp-ctrl"] [SpecCtrl];
            /// Control against branch history injection.
            331 BhiCtrl            "bhi_ctrl"             leaf(0x7, 2, Edx, 4)          NO_STATE  Security Intel   None   LinuxMacro [] [SpecCtrl];
            /// Not affected by MXCSR configuration dependent timing.
            332 McdtNo             "mcdt_no"              leaf(0x7, 2, Edx, 5)          NO_STATE  Security Intel   None   LinuxMacro [] [];
            /// Locks on uncacheable memory can be disabled.
            333 UcLockDisable      "uc_lock_disable"      leaf(0x7, 2, Edx, 6)          NO_STATE  Kernel   Intel   None   Xen        ["uc-lock-dis"] [];
            /// UMONITOR and MONITOR need no mitigation.
            334 MonitorMitgNo      "monitor_mitg_no"      leaf(0x7, 2, Edx, 7)          NO_STATE  Security Intel   None   Manual     [] [];
            /// Indirect branch prediction barrier, AMD's bit.
            335 AmdIbpb            "amd_ibpb"             leaf(0x8000_0008, 0, Ebx, 12) NO_STATE  Security Amd     None   LinuxMacro ["ibpb"] [];
            /// Indirect branch restricted speculation, AMD's bit.
            336 AmdIbrs            "amd_ibrs"             leaf(0x8000_0008, 0, Ebx, 14) NO_STATE  Security Amd     None   LinuxMacro ["ibrs"] [];
            /// Single-thread indirect branch predictors, AMD's bit.
            337 AmdStibp           "amd_stibp"            leaf(0x8000_0008, 0, Ebx, 15) NO_STATE  Security Amd     None   LinuxMacro [] [AmdIbrs];
            /// IBRS is preferred always on.
            338 IbrsAlways         "ibrs_always"          leaf(0x8000_0008, 0, Ebx, 16) NO_STATE  Security Amd     None   Xen        [] [AmdIbrs];
            /// STIBP is preferred always on.
            339 AmdStibpAlwaysOn   "amd_stibp_always_on"  leaf(0x8000_0008, 0, Ebx, 17) NO_STATE  Security Amd     None   LinuxMacro ["stibp-always-on" "stibp-always"] [AmdStibp];
            /// IBRS is preferred over software mitigations.
            340 IbrsFast           "ibrs_fast"            leaf(0x8000_0008, 0, Ebx, 18) NO_STATE  Security Amd     None   Xen        ["ibrs-preferred"] [AmdIbrs];
            /// IBRS protects within the same mode.
            341 AmdIbrsSameMode    "amd_ibrs_same_mode"   leaf(0x8000_0008, 0, Ebx, 19) NO_STATE  Security Amd     None   LinuxMacro ["ibrs-same-mode"] [AmdIbrs];
            /// Speculative store bypass disable, AMD's bit.
            342 AmdSsbd            "amd_ssbd"             leaf(0x8000_0008, 0, Ebx, 24) NO_STATE  Security Amd     None   LinuxMacro [] [AmdIbrs];
            /// Speculative store bypass disable by a virtual MSR.
            343 VirtSsbd           "virt_ssbd"            leaf(0x8000_0008, 0, Ebx, 25) NO_STATE  Security Amd     None   Cpuinfo    [] [];
            /// Not affected by speculative store bypass, AMD's bit.
            344 AmdSsbNo           "amd_ssb_no"           leaf(0x8000_0008, 0, Ebx, 26) NO_STATE  Security Amd     None   LinuxMacro ["amd-no-ssb"] [];
            /// Predictive store forwarding disable, AMD's bit.
            345 AmdPsfd            "amd_psfd"             leaf(0x8000_0008, 0, Ebx, 28) NO_STATE  Security Amd     None   LinuxMacro ["psfd"] [AmdIbrs];
            /// Not affected by branch type confusion.
            346 BtcNo              "btc_no"               leaf(0x8000_0008, 0, Ebx, 29) NO_STATE  Security Amd     None   LinuxMacro [] [];
            /// IBPB clears return addresses as well.
            347 AmdIbpbRet         "amd_ibpb_ret"         leaf(0x8000_0008, 0, Ebx, 30) NO_STATE  Security Amd     None   LinuxMacro ["ibpb-ret"] [AmdIbpb];
            /// VERW mitigates transient scheduler attacks.
            348 VerwClear          "verw_clear"           leaf(0x8000_0021, 0, Eax, 5)  NO_STATE  Security Amd     None   LinuxMacro [] [];
            /// Automatic IBRS.
            349 Autoibrs           "autoibrs"             leaf(0x8000_0021, 0, Eax, 8)  NO_STATE  Security Amd     None   LinuxMacro ["auto-ibrs"] [AmdIbrs];
            /// Enhanced return address predictor security.
            350 Eraps              "eraps"                leaf(0x8000_0021, 0, Eax, 24) NO_STATE  Security Amd     None   LinuxMacro [] [];
            /// Selective branch predictor barrier.
            351 Sbpb               "sbpb"                 leaf(0x8000_0021, 0, Eax, 27) NO_STATE  Security Amd     None   LinuxMacro [] [AmdIbpb];
            /// IBPB flushes every branch type prediction.
            352 IbpbBrtype         "ibpb_brtype"          leaf(0x8000_0021, 0, Eax, 28) NO_STATE  Security Amd     None   LinuxMacro [] [AmdIbpb];
            /// Not affected by speculative return stack overflow.
            353 SrsoNo             "srso_no"              leaf(0x8000_0021, 0, Eax, 29) NO_STATE  Security Amd     None   LinuxMacro [] [];
            /// Not affected by it across user and kernel.
            354 SrsoUserKernelNo   "srso_user_kernel_no"  leaf(0x8000_0021, 0, Eax, 30) NO_STATE  Security Amd     None   LinuxMacro ["srso-us-no"] [];
            /// BP_CFG has a mitigation of it for virtual machines.
            355 SrsoMsrFix         "srso_bp_spec_reduce"  leaf(0x8000_0021, 0, Eax, 31) NO_STATE  Security Amd     None   LinuxMacro ["srso-msr-fix"] [];
            /// Not affected by the store queue form of transient scheduler attacks.
            356 TsaSqNo            "tsa_sq_no"            leaf(0x8000_0021, 0, Ecx, 1)  NO_STATE  Security Amd     None   LinuxMacro [] [];
            /// Not affected by the L1 form of transient scheduler attacks.
            357 TsaL1No            "tsa_l1_no"            leaf(0x8000_0021, 0, Ecx, 2)  NO_STATE  Security Amd     None   LinuxMacro [] [];

            // ── IA32_ARCH_CAPABILITIES: read by the kernel only, so never in a set decoded from CPUID ──
            /// Not affected by rogue data cache load (Meltdown). QEMU transposes two letters.
            358 RdclNo             "rdcl_no"              msr(0x10a, 0)                 NO_STATE  Security Intel   None   Xen        ["rdctl-no"] [ArchCapabilities];
            /// Enhanced IBRS. Linux prints it for AMD's automatic IBRS too.
            359 IbrsAll            "ibrs_enhanced"        msr(0x10a, 1)                 NO_STATE  Security Intel   None   Cpuinfo    ["ibrs-all" "eibrs"] [ArchCapabilities SpecCtrl];
            /// Returns may use other predictors than the return stack. Must be assumed, not promised.
            360 Rsba               "rsba"                 msr(0x10a, 2)                 NO_STATE  Security Intel   None   Qemu       [] [ArchCapabilities];
            /// A hypervisor need not flush the L1 cache at VM entry.
            361 SkipL1dflVmentry   "skip_l1dfl_vmentry"   msr(0x10a, 3)                 NO_STATE  Security Intel   None   Qemu       ["skip-l1dfl"] [ArchCapabilities];
            /// Not affected by speculative store bypass. Xen's SSB_NO is AMD's bit.
            362 SsbNo              "ssb_no"               msr(0x10a, 4)                 NO_STATE  Security Intel   None   Qemu       ["intel-ssb-no"] [ArchCapabilities];
            /// Not affected by microarchitectural data sampling.
            363 MdsNo              "mds_no"               msr(0x10a, 5)                 NO_STATE  Security Intel   None   Qemu       [] [ArchCapabilities];
            /// No machine check when a page changes its size.
            364 PschangeMcNo       "pschange_mc_no"       msr(0x10a, 6)                 NO_STATE  Security Intel   None   Qemu       ["if-pschange-mc-no"] [ArchCapabilities];
            /// IA32_TSX_CTRL exists.
            365 TsxCtrl            "tsx_ctrl"             msr(0x10a, 7)                 NO_STATE  Security Intel   None   Qemu       ["msr-tsx-ctrl"] [ArchCapabilities];
            /// Not affected by TSX asynchronous abort.
            366 TaaNo              "taa_no"               msr(0x10a, 8)                 NO_STATE  Security Intel   None   Qemu       [] [ArchCapabilities];
            /// IA32_MCU_CONTROL exists.
            367 McuCtrl            "mcu_ctrl"             msr(0x10a, 9)                 NO_STATE  Kernel   Intel   None   Xen        [] [ArchCapabilities];
            /// IA32_MISC_PACKAGE_CTLS exists.
            368 MiscPkgCtrl        "misc_pkg_ctrl"        msr(0x10a, 10)                NO_STATE  Kernel   Intel   None   Xen        ["misc-package-ctls"] [ArchCapabilities];
            /// Energy readings can be filtered.
            369 EnergyFiltering    "energy_filtering"     msr(0x10a, 11)                NO_STATE  Security Intel   None   Xen        ["energy-filtering-ctl"] [MiscPkgCtrl];
            /// Data operand independent timing mode.
            370 Doitm              "doitm"                msr(0x10a, 12)                NO_STATE  Security Intel   None   Xen        ["doitm-ctl"] [ArchCapabilities];
            /// Not affected by shared buffer data read and sideband stale data.
            371 SbdrSsdpNo         "sbdr_ssdp_no"         msr(0x10a, 13)                NO_STATE  Security Intel   None   Qemu       [] [ArchCapabilities];
            /// Not affected by fill buffer stale data.
            372 FbsdpNo            "fbsdp_no"             msr(0x10a, 14)                NO_STATE  Security Intel   None   Qemu       [] [ArchCapabilities];
            /// Not affected by primary stale data.
            373 PsdpNo             "psdp_no"              msr(0x10a, 15)                NO_STATE  Security Intel   None   Qemu       [] [ArchCapabilities];
            /// VERW clears the fill buffers.
            374 FbClear            "fb_clear"             msr(0x10a, 17)                NO_STATE  Security Intel   None   Qemu       [] [ArchCapabilities];
            /// Clearing of the fill buffers by VERW can be disabled.
            375 FbClearCtrl        "fb_clear_ctrl"        msr(0x10a, 18)                NO_STATE  Security Intel   None   Xen        [] [FbClear];
            /// Restricted RSBA. Must be assumed, not promised.
            376 Rrsba              "rrsba"                msr(0x10a, 19)                NO_STATE  Security Intel   None   Xen        [] [IbrsAll];
            /// Not affected by branch history injection.
            377 BhiNo              "bhi_no"               msr(0x10a, 20)                NO_STATE  Security Intel   None   Qemu       [] [ArchCapabilities];
            /// IA32_XAPIC_DISABLE_STATUS exists.
            378 XapicDisableStatus "xapic_status"         msr(0x10a, 21)                NO_STATE  Kernel   Intel   None   Xen        ["xapic-disable-status"] [ArchCapabilities];
            /// IA32_OVERCLOCKING_STATUS exists.
            379 OverclockingStatus "ovrclk_status"        msr(0x10a, 23)                NO_STATE  Kernel   Intel   None   Xen        ["overclocking-status"] [ArchCapabilities];
            /// Not affected by post-barrier return predictions.
            380 PbrsbNo            "pbrsb_no"             msr(0x10a, 24)                NO_STATE  Security Intel   None   Qemu       [] [ArchCapabilities];
            /// The mitigation of gather data sampling can be controlled.
            381 GdsCtrl            "gds_ctrl"             msr(0x10a, 25)                NO_STATE  Security Intel   None   Xen        [] [ArchCapabilities];
            /// Not affected by gather data sampling.
            382 GdsNo              "gds_no"               msr(0x10a, 26)                NO_STATE  Security Intel   None   Qemu       [] [ArchCapabilities];
            /// Not affected by register file data sampling.
            383 RfdsNo             "rfds_no"              msr(0x10a, 27)                NO_STATE  Security Intel   None   Qemu       [] [ArchCapabilities];
            /// VERW clears the register files.
            384 RfdsClear          "rfds_clear"           msr(0x10a, 28)                NO_STATE  Security Intel   None   Qemu       [] [ArchCapabilities];
            /// IA32_PB_OPT_CTRL exists.
            385 PbOptCtrl          "pb_opt_ctrl"          msr(0x10a, 32)                NO_STATE  Security Intel   None   Xen        [] [ArchCapabilities];
            /// Not affected by indirect target selection.
            386 ItsNo              "its_no"               msr(0x10a, 62)                NO_STATE  Security Intel   None   Qemu       [] [ArchCapabilities];
            /// Alignment check on a split lock.
            387 SplitLockDetect    "split_lock_detect"    msr(0xcf, 5)                  NO_STATE  Kernel   Intel   None   Cpuinfo    [] [CoreCapabilities];

            // ── More of AMD's and Intel's kernel features ──
            /// Processor trace reports linear instead of effective addresses.
            388 IntelPtLip         "intel_pt_lip"         leaf(0x14, 0, Ecx, 31)        NO_STATE  Kernel   Intel   None   Qemu       [] [IntelPt];
            /// Collaborative processor performance control without delay.
            389 AmdFastCppc        "amd_fast_cppc"        leaf(0x8000_0007, 0, Edx, 15) NO_STATE  Kernel   Amd     None   LinuxMacro [] [Cppc];
            /// The CPU classifies the workload of a thread.
            390 AmdWorkloadClass   "amd_workload_class"   leaf(0x8000_0021, 0, Eax, 22) NO_STATE  Kernel   Amd     None   LinuxMacro [] [];
            /// RMPREAD: read an entry of the reverse map.
            391 Rmpread            "rmpread"              leaf(0x8000_001F, 0, Eax, 21) NO_STATE  Kernel   Amd     Kernel LinuxMacro [] [SevSnp];
            /// The reverse map may lie in segments.
            392 SegmentedRmp       "segmented_rmp"        leaf(0x8000_001F, 0, Eax, 23) NO_STATE  Kernel   Amd     None   LinuxMacro [] [SevSnp];
            /// The hypervisor can bound the SEV features of a guest.
            393 AllowedSevFeatures "allowed_sev_features" leaf(0x8000_001F, 0, Eax, 27) NO_STATE  Kernel   Amd     None   LinuxMacro [] [SevEs];
            /// Pages that the hypervisor has in use may be written.
            394 HvInuseWrAllowed   "hv_inuse_wr_allowed"  leaf(0x8000_001F, 0, Eax, 30) NO_STATE  Kernel   Amd     None   LinuxMacro [] [SevSnp];
        }
    };
}

pub(crate) use with_table;
