//! The families as people name them, and reasons for what is not emulated.

use crate::cases::general::is_general;
use crate::is_user;
use iced_x86::{Code, CpuidFeature as F, EncodingKind};

/// A family.
pub(crate) struct Row {
    pub name: &'static str,
    /// Its codes have one of these features. A code with features of two rows belongs to the first.
    features: &'static [F],
}

const fn family(name: &'static str, features: &'static [F]) -> Row {
    Row { name, features }
}

/// Every family that is emulated. The ones after which others are named (AVX, AVX2, SSE …) come
/// after those.
pub(crate) const ROWS: &[Row] = &[
    family("SSE3", &[F::SSE3]),
    family("SSSE3", &[F::SSSE3]),
    family("SSE4.1", &[F::SSE4_1]),
    family("SSE4.2", &[F::SSE4_2]),
    family("SSE4A", &[F::SSE4A]),
    family("POPCNT", &[F::POPCNT]),
    family("LZCNT", &[F::LZCNT]),
    family("TZCNT/BMI1", &[F::BMI1]),
    family("BMI2", &[F::BMI2]),
    family("TBM", &[F::TBM]),
    family("ADX", &[F::ADX]),
    family("MOVBE", &[F::MOVBE]),
    // By code, see `row`: the decoder counts them as of every CPU.
    family(LAHF_SAHF, &[]),
    family("CMPXCHG16B", &[F::CMPXCHG16B]),
    family("AES", &[F::AES]),
    family("PCLMULQDQ", &[F::PCLMULQDQ]),
    family("SHA", &[F::SHA]),
    family("SHA512", &[F::SHA512]),
    family("SM3", &[F::SM3]),
    family("SM4", &[F::SM4]),
    family("GFNI", &[F::GFNI]),
    family("AVX", &[F::AVX]),
    family("F16C", &[F::F16C]),
    family("FMA", &[F::FMA]),
    family("FMA4", &[F::FMA4]),
    family("XOP", &[F::XOP]),
    family("AVX2", &[F::AVX2]),
    family("VAES", &[F::VAES]),
    family("VPCLMULQDQ", &[F::VPCLMULQDQ]),
    family("AVX-VNNI", &[F::AVX_VNNI]),
    family("AVX-VNNI-INT8", &[F::AVX_VNNI_INT8]),
    family("AVX-VNNI-INT16", &[F::AVX_VNNI_INT16]),
    family("AVX-IFMA", &[F::AVX_IFMA]),
    family("AVX-NE-CONVERT", &[F::AVX_NE_CONVERT]),
    family("3DNow!", &[F::D3NOW]),
    family("3DNow! extensions", &[F::D3NOWEXT]),
    family("RDRAND/RDSEED", &[F::RDRAND, F::RDSEED]),
    family("RDPID", &[F::RDPID]),
    family("RDTSCP", &[F::RDTSCP]),
    family("MOVDIRI/MOVDIR64B", &[F::MOVDIRI, F::MOVDIR64B]),
    family(
        "CLWB/CLFLUSHOPT/PREFETCHW/CLDEMOTE/WBNOINVD class",
        &[
            F::CLWB,
            F::CLFLUSHOPT,
            F::PREFETCHW,
            F::PREFETCHWT1,
            F::PREFETCHITI,
            F::CLDEMOTE,
            F::WBNOINVD,
        ],
    ),
    family("MMX", &[F::MMX]),
    family("SSE", &[F::SSE]),
    family("SSE2", &[F::SSE2]),
    // By `is_general`.
    family(ORDINARY, &[]),
];

const LAHF_SAHF: &str = "LAHF/SAHF";
const ORDINARY: &str = "ordinary integer instructions";

/// Emulated codes without an oracle, each with a case in `tests/golden.rs` or, FEMMS, in
/// `tests/reference`.
pub(crate) const GOLDEN: &[Code] = &[
    Code::Femms,
    Code::Rdtscp,
    Code::Rdrand_r16,
    Code::Rdrand_r32,
    Code::Rdrand_r64,
    Code::Rdseed_r16,
    Code::Rdseed_r32,
    Code::Rdseed_r64,
    Code::Cldemote_m8,
    Code::Prefetchwt1_m8,
    Code::Prefetchit0_m8,
    Code::Prefetchit1_m8,
];

/// The row of a code.
pub(crate) fn row(code: Code) -> Option<usize> {
    if matches!(code.encoding(), EncodingKind::EVEX | EncodingKind::MVEX) {
        return None;
    }
    let named = |name| ROWS.iter().position(|row| row.name == name);
    if matches!(code, Code::Lahf | Code::Sahf) {
        return named(LAHF_SAHF);
    }
    if is_general(code) {
        return named(ORDINARY);
    }
    let features = code.cpuid_features();
    let is_of = |row: &Row| row.features.iter().any(|f| features.contains(f));
    // The narrowest: VAESENC is of AES and of AVX, VSHA512MSG1 of SHA512 and of AVX.
    let wide = |row: &Row| matches!(row.features, [F::AVX]);
    let narrow = ROWS.iter().position(|row| is_of(row) && !wide(row));
    narrow.or_else(|| ROWS.iter().position(is_of))
}

/// Why no program in 64-bit mode can execute a code.
pub(crate) fn impossible(code: Code) -> Option<&'static str> {
    let info = code.op_code();
    if !info.mode64() {
        Some("not in 64-bit mode")
    } else if !info.cpl3() {
        Some("privileged")
    } else if is_user(code) {
        None
    } else {
        Some("known to the decoder only by an option")
    }
}

/// Why codes of other families are not emulated, by one of their features.
const REASONS: &[(&str, &[F])] = &[
    (
        "x87, which every x86-64 CPU has",
        &[F::FPU, F::FPU287, F::FPU387],
    ),
    (
        "Every x86-64 CPU has it",
        &[F::CLFSH, F::CPUID, F::FXSR, F::TSC],
    ),
    ("System calls are the kernel's", &[F::SYSCALL, F::SEP]),
    (
        "Out of scope: state components are the CPU's and the kernel's business",
        &[F::XSAVE, F::XSAVEC, F::XSAVEOPT, F::PKU, F::FSGSBASE],
    ),
    (
        "AVX-512 comes later",
        &[F::AVX512F, F::AVX512BW, F::AVX512DQ],
    ),
    (
        "AMX comes later",
        &[
            F::AMX_TILE,
            F::AMX_INT8,
            F::AMX_BF16,
            F::AMX_FP16,
            F::AMX_COMPLEX,
        ],
    ),
    (
        "Not among the families of the emulator: atomics, waits, stores and traces of few CPUs",
        &[
            F::CLZERO,
            F::CMPCCXADD,
            F::ENQCMD,
            F::LWP,
            F::MCOMMIT,
            F::MONITOR,
            F::MONITORX,
            F::PTWRITE,
            F::RAO_INT,
            F::RDPMC,
            F::RDPRU,
            F::SERIALIZE,
            F::WAITPKG,
        ],
    ),
    (
        "Not among the families of the emulator: transactions, shadow stacks, user interrupts",
        &[F::RTM, F::HLE_or_RTM, F::TSXLDTRK, F::CET_SS, F::UINTR],
    ),
    (
        "Needs secrets or a monitor that only the CPU has",
        &[
            F::AESKLE,
            F::SEV_ES,
            F::SGX1,
            F::SMM,
            F::SMX,
            F::SVM,
            F::VMX,
        ],
    ),
    (
        "VIA's and Zhaoxin's CPUs only",
        &[
            F::PADLOCK_ACE,
            F::PADLOCK_GMI,
            F::PADLOCK_PHE,
            F::PADLOCK_PMM,
            F::PADLOCK_RNG,
            F::PADLOCK_UNDOC,
        ],
    ),
];

/// Why a code of no row is not emulated, and its features.
pub(crate) fn reason(code: Code) -> Option<(String, String)> {
    let features = code.cpuid_features();
    let names: Vec<String> = features.iter().map(|f| format!("{f:?}")).collect();
    let reason = match code.encoding() {
        EncodingKind::EVEX => "AVX-512 and what extends it with EVEX come later",
        _ => {
            REASONS
                .iter()
                .find(|reason| reason.1.iter().any(|f| features.contains(f)))?
                .0
        }
    };
    Some((reason.into(), names.join(" ")))
}
