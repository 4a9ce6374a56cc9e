//! Which codes have a reference.

use iced_x86::{Code, CpuidFeature, EncodingKind};

/// The families that have one.
pub(crate) const FEATURES: [CpuidFeature; 14] = [
    CpuidFeature::XOP,
    CpuidFeature::FMA,
    CpuidFeature::FMA4,
    CpuidFeature::TBM,
    CpuidFeature::SHA512,
    CpuidFeature::SM3,
    CpuidFeature::SM4,
    CpuidFeature::AVX_VNNI,
    CpuidFeature::AVX_VNNI_INT8,
    CpuidFeature::AVX_VNNI_INT16,
    CpuidFeature::AVX_IFMA,
    CpuidFeature::D3NOW,
    CpuidFeature::D3NOWEXT,
    CpuidFeature::AVX_NE_CONVERT,
];

/// Whether the code is compared with a reference.
pub(crate) fn is_covered(code: Code) -> bool {
    let info = code.op_code();
    let before_evex = !matches!(code.encoding(), EncodingKind::EVEX | EncodingKind::MVEX);
    let features = code.cpuid_features();
    // FEMMS has no operands, and a test of its own.
    before_evex
        && info.is_instruction()
        && info.mode64()
        && code != Code::Femms
        && FEATURES.iter().any(|feature| features.contains(feature))
}
