//! The probes: for each feature a few bytes of machine code that execute it.
//!
//! A probe is a function without a frame that returns 1 in RAX. It uses only
//! registers that the C ABI lets a function change, and of memory at most the
//! red zone below the stack pointer, so that it can be left at any instruction
//! by continuing at `refused`. All lie in the section `isahotplug_probes`, so that a
//! check of the binary can tell them from the rest.
//!
//! The silent features are tried by their results: where LZCNT is missing, its
//! encoding runs as BSR; where TZCNT is missing, as BSF. (QEMU 10's TCG has
//! taken one for the other: `-abm` takes TZCNT away and `-bmi1` LZCNT. What is
//! found here is what programs compute, whatever CPUID shows.)

use isa::Feature;

/// 1 in RAX: the CPU executed it as it should.
pub(super) type Probe = unsafe extern "C" fn() -> u64;

macro_rules! probes {
    ($($feature:ident $symbol:ident $($line:literal)+;)+) => {
        std::arch::global_asm!(
            ".pushsection isahotplug_probes, \"ax\", @progbits",
            ".hidden isahotplug_probes_begin",
            ".globl isahotplug_probes_begin",
            "isahotplug_probes_begin:",
            $(
                concat!(".hidden ", stringify!($symbol)),
                concat!(".globl ", stringify!($symbol)),
                concat!(".type ", stringify!($symbol), ", @function"),
                concat!(stringify!($symbol), ":"),
                $($line,)+
                "mov eax, 1",
                "ret",
                concat!(".size ", stringify!($symbol), ", . - ", stringify!($symbol)),
            )+
            ".hidden isahotplug_probes_refused",
            ".globl isahotplug_probes_refused",
            ".type isahotplug_probes_refused, @function",
            "isahotplug_probes_refused:",
            "xor eax, eax",
            "ret",
            ".size isahotplug_probes_refused, . - isahotplug_probes_refused",
            ".popsection",
        );

        unsafe extern "C" {
            fn isahotplug_probes_begin() -> u64;
            fn isahotplug_probes_refused() -> u64;
            $(fn $symbol() -> u64;)+
        }

        /// Every feature that can be tried, and how.
        pub(super) static PROBES: &[(Feature, Probe)] = &[$((Feature::$feature, $symbol)),+];
    };
}

probes! {
    Sse3 probe_sse3 "haddps xmm0, xmm0";
    Ssse3 probe_ssse3 "pabsb xmm0, xmm0";
    Sse41 probe_sse4_1 "pminsd xmm0, xmm0";
    Sse42 probe_sse4_2 "pcmpgtq xmm0, xmm0";
    Sse4a probe_sse4a "extrq xmm0, xmm1";
    Popcnt probe_popcnt "popcnt eax, eax";
    Aes probe_aes "aesenc xmm0, xmm1";
    Pclmulqdq probe_pclmulqdq "pclmulqdq xmm0, xmm1, 0";
    ShaNi probe_sha_ni "sha256msg1 xmm0, xmm1";
    Gfni probe_gfni "gf2p8mulb xmm0, xmm1";
    Movbe probe_movbe "movbe rax, qword ptr [rsp]";
    Adx probe_adx "adcx eax, eax";
    Bmi2 probe_bmi2 "pdep rax, rcx, rdx";
    Tbm probe_tbm "blcfill eax, ecx";
    Rdpid probe_rdpid "rdpid rax";
    Fsgsbase probe_fsgsbase "rdfsbase rax";
    LahfLm probe_lahf_lm "lahf";
    Movdiri probe_movdiri "movdiri dword ptr [rsp - 8], eax";
    Clflushopt probe_clflushopt "clflushopt byte ptr [rsp]";
    Clwb probe_clwb "clwb byte ptr [rsp]";
    Serialize probe_serialize "serialize";
    ThreeDnow probe_3dnow "pfadd mm0, mm0" "femms";
    ThreeDnowExt probe_3dnowext "pswapd mm0, mm0" "emms";

    // ANDN faults where it is missing; TZCNT leaves the destination as BSF does.
    Bmi1 probe_bmi1
        "andn rax, rcx, rdx"
        "xor ecx, ecx"
        "mov eax, 7"
        "tzcnt rax, rcx"
        "cmp rax, 64"
        "jne isahotplug_probes_refused";
    // BSR says 10.
    Abm probe_abm
        "mov ecx, 0x400"
        "lzcnt rax, rcx"
        "cmp rax, 53"
        "jne isahotplug_probes_refused";

    Avx probe_avx "vaddps ymm0, ymm0, ymm0";
    Avx2 probe_avx2 "vpaddd ymm0, ymm0, ymm0";
    Fma probe_fma "vfmadd132ps ymm0, ymm1, ymm2";
    F16c probe_f16c "vcvtph2ps ymm0, xmm1";
    Fma4 probe_fma4 "vfmaddps xmm0, xmm1, xmm2, xmm3";
    Xop probe_xop "vphaddbd xmm0, xmm1";
    // The form on YMM, which is what the feature adds. QEMU's TCG looks at
    // another bit than the CPU does: with VAES and without AVX2 it executes
    // this without a word.
    Vaes probe_vaes "vaesenc ymm0, ymm1, ymm2";
    Vpclmulqdq probe_vpclmulqdq "vpclmulqdq ymm0, ymm1, ymm2, 0";
    AvxVnni probe_avx_vnni "{{vex}} vpdpbusd ymm0, ymm1, ymm2";
    AvxVnniInt8 probe_avx_vnni_int8 "vpdpbssd ymm0, ymm1, ymm2";
    AvxVnniInt16 probe_avx_vnni_int16 "vpdpwsud ymm0, ymm1, ymm2";
    AvxIfma probe_avx_ifma "{{vex}} vpmadd52luq ymm0, ymm1, ymm2";
    AvxNeConvert probe_avx_ne_convert "vbcstnebf162ps ymm0, word ptr [rsp]";
    Sha512 probe_sha512 "vsha512msg1 ymm0, xmm1";
    Sm3 probe_sm3 "vsm3msg1 xmm0, xmm1, xmm2";
    Sm4 probe_sm4 "vsm4key4 ymm0, ymm1, ymm2";

    Avx512f probe_avx512f "vpaddd zmm0, zmm0, zmm0";
    Avx512dq probe_avx512dq "vpmullq zmm0, zmm0, zmm0";
    Avx512cd probe_avx512cd "vplzcntd zmm0, zmm0";
    Avx512bw probe_avx512bw "vpaddb zmm0, zmm0, zmm0";
    Avx512vl probe_avx512vl "vpaddd ymm16, ymm16, ymm16";
    Avx512ifma probe_avx512ifma "vpmadd52luq zmm0, zmm1, zmm2";
    Avx512vbmi probe_avx512vbmi "vpermb zmm0, zmm1, zmm2";
    Avx512vbmi2 probe_avx512_vbmi2 "vpshldd zmm0, zmm1, zmm2, 1";
    Avx512vnni probe_avx512_vnni "vpdpbusd zmm0, zmm1, zmm2";
    Avx512bitalg probe_avx512_bitalg "vpopcntb zmm0, zmm1";
    Avx512vpopcntdq probe_avx512_vpopcntdq "vpopcntd zmm0, zmm1";
    Avx512vp2intersect probe_avx512_vp2intersect "vp2intersectd k2, zmm0, zmm1";
    Avx512bf16 probe_avx512_bf16 "vcvtne2ps2bf16 zmm0, zmm1, zmm2";
    Avx512fp16 probe_avx512_fp16 "vaddph zmm0, zmm1, zmm2";
}

/// Whether `rip` lies in a probe.
pub(super) fn is_probe(rip: i64) -> bool {
    (address(isahotplug_probes_begin)..refused()).contains(&rip)
}

/// Where a refused probe continues.
pub(super) fn refused() -> i64 {
    address(isahotplug_probes_refused)
}

/// An address as the signal frame holds it.
fn address(code: Probe) -> i64 {
    (code as usize).cast_signed() as i64
}
