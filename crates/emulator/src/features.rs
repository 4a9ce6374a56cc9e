//! From the decoder's names of CPU features to ours.

use iced_x86::{Code, CpuidFeature as Cpuid, Mnemonic};
use isa::{Feature, FeatureSet};

/// The features whose instructions [`step`](crate::step) carries out: all of them, or as many as
/// [`attribute`](crate::attribute) calls emulated. MMX, SSE and SSE2, which every x86-64 CPU has,
/// are among them because they share their semantics with AVX; CMOV and CX8 because they are as
/// ordinary as the integer instructions that need no feature at all. Those instructions that need
/// more than registers and memory also need a [`Memory`](crate::Memory) that offers it.
pub const EMULATED: FeatureSet = FeatureSet::from_features(&[
    Feature::Sse,
    Feature::Sse2,
    Feature::Sse3,
    Feature::Ssse3,
    Feature::Sse41,
    Feature::Sse42,
    Feature::Popcnt,
    Feature::Abm,
    Feature::Movbe,
    Feature::Bmi1,
    Feature::Bmi2,
    Feature::Avx,
    Feature::F16c,
    Feature::Fma,
    Feature::Avx2,
    Feature::Adx,
    Feature::Aes,
    Feature::Pclmulqdq,
    Feature::ShaNi,
    Feature::Gfni,
    Feature::Vaes,
    Feature::Vpclmulqdq,
    Feature::AvxVnni,
    Feature::AvxVnniInt8,
    Feature::AvxVnniInt16,
    Feature::AvxIfma,
    Feature::AvxNeConvert,
    Feature::Sha512,
    Feature::Sm3,
    Feature::Sm4,
    Feature::Fma4,
    Feature::Xop,
    Feature::Tbm,
    Feature::Sse4a,
    Feature::LahfLm,
    Feature::Cx16,
    Feature::Rdpid,
    Feature::Rdtscp,
    Feature::Rdrand,
    Feature::Rdseed,
    Feature::Movdiri,
    Feature::Movdir64b,
    Feature::Clwb,
    Feature::Clflushopt,
    Feature::Cldemote,
    Feature::ThreeDnowPrefetch,
    Feature::Prefetchwt1,
    Feature::Prefetchiti,
    Feature::Mmx,
    Feature::ThreeDnow,
    Feature::ThreeDnowExt,
    Feature::Cmov,
    Feature::Cx8,
]);

/// The features that an instruction needs; empty for those of every x86-64 CPU, `None` if one of
/// them has no name here.
pub(crate) fn required(code: Code) -> Option<FeatureSet> {
    // The decoder names the FPU too, which every x86-64 CPU has.
    if code.mnemonic() == Mnemonic::Fisttp {
        return Some(Feature::Sse3.into());
    }
    // The decoder counts them as of every CPU; in 64-bit mode they have a bit of their own.
    if matches!(code, Code::Lahf | Code::Sahf) {
        return Some(Feature::LahfLm.into());
    }
    let mut features = FeatureSet::EMPTY;
    for &cpuid in code.cpuid_features() {
        if let Some(feature) = feature(cpuid)? {
            features = features.with(feature);
        }
    }
    Some(features)
}

/// The feature of one name of the decoder's: `Some(None)` if every x86-64 CPU has it, `None` if
/// there is no name for it.
fn feature(cpuid: Cpuid) -> Option<Option<Feature>> {
    Some(Some(match cpuid {
        Cpuid::INTEL8086
        | Cpuid::INTEL186
        | Cpuid::INTEL286
        | Cpuid::INTEL386
        | Cpuid::INTEL486
        | Cpuid::X64
        | Cpuid::CPUID
        | Cpuid::MULTIBYTENOP
        | Cpuid::PAUSE
        // ENDBR32 and ENDBR64: where there is no CET they do nothing, and Linux has no branch
        // tracking for programs.
        | Cpuid::CET_IBT
        | Cpuid::FPU287
        | Cpuid::FPU387 => return Some(None),
        Cpuid::FPU => Feature::Fpu,
        Cpuid::TSC => Feature::Tsc,
        Cpuid::CX8 => Feature::Cx8,
        Cpuid::CMOV => Feature::Cmov,
        Cpuid::CLFSH => Feature::Clflush,
        Cpuid::MMX => Feature::Mmx,
        Cpuid::FXSR => Feature::Fxsr,
        Cpuid::SYSCALL => Feature::Syscall,
        Cpuid::SSE => Feature::Sse,
        Cpuid::SSE2 => Feature::Sse2,
        Cpuid::SSE3 => Feature::Sse3,
        Cpuid::SSSE3 => Feature::Ssse3,
        Cpuid::SSE4_1 => Feature::Sse41,
        Cpuid::SSE4_2 => Feature::Sse42,
        Cpuid::SSE4A => Feature::Sse4a,
        Cpuid::POPCNT => Feature::Popcnt,
        Cpuid::LZCNT => Feature::Abm,
        Cpuid::BMI1 => Feature::Bmi1,
        Cpuid::BMI2 => Feature::Bmi2,
        Cpuid::TBM => Feature::Tbm,
        Cpuid::ADX => Feature::Adx,
        Cpuid::MOVBE => Feature::Movbe,
        Cpuid::CMPXCHG16B => Feature::Cx16,
        Cpuid::AES => Feature::Aes,
        Cpuid::PCLMULQDQ => Feature::Pclmulqdq,
        Cpuid::SHA => Feature::ShaNi,
        Cpuid::SHA512 => Feature::Sha512,
        Cpuid::SM3 => Feature::Sm3,
        Cpuid::SM4 => Feature::Sm4,
        Cpuid::GFNI => Feature::Gfni,
        Cpuid::AVX => Feature::Avx,
        Cpuid::F16C => Feature::F16c,
        Cpuid::FMA => Feature::Fma,
        Cpuid::FMA4 => Feature::Fma4,
        Cpuid::XOP => Feature::Xop,
        Cpuid::AVX2 => Feature::Avx2,
        Cpuid::VAES => Feature::Vaes,
        Cpuid::VPCLMULQDQ => Feature::Vpclmulqdq,
        Cpuid::AVX_VNNI => Feature::AvxVnni,
        Cpuid::AVX_VNNI_INT8 => Feature::AvxVnniInt8,
        Cpuid::AVX_VNNI_INT16 => Feature::AvxVnniInt16,
        Cpuid::AVX_IFMA => Feature::AvxIfma,
        Cpuid::AVX_NE_CONVERT => Feature::AvxNeConvert,
        Cpuid::D3NOW => Feature::ThreeDnow,
        Cpuid::D3NOWEXT => Feature::ThreeDnowExt,
        Cpuid::PREFETCHW => Feature::ThreeDnowPrefetch,
        Cpuid::PREFETCHWT1 => Feature::Prefetchwt1,
        Cpuid::PREFETCHITI => Feature::Prefetchiti,
        Cpuid::RDRAND => Feature::Rdrand,
        Cpuid::RDSEED => Feature::Rdseed,
        Cpuid::RDPID => Feature::Rdpid,
        Cpuid::RDTSCP => Feature::Rdtscp,
        Cpuid::MOVDIRI => Feature::Movdiri,
        Cpuid::MOVDIR64B => Feature::Movdir64b,
        Cpuid::CLWB => Feature::Clwb,
        Cpuid::CLFLUSHOPT => Feature::Clflushopt,
        Cpuid::CLDEMOTE => Feature::Cldemote,
        Cpuid::WBNOINVD => Feature::Wbnoinvd,
        Cpuid::WAITPKG => Feature::Waitpkg,
        Cpuid::SERIALIZE => Feature::Serialize,
        Cpuid::CMPCCXADD => Feature::Cmpccxadd,
        Cpuid::RAO_INT => Feature::RaoInt,
        Cpuid::FSGSBASE => Feature::Fsgsbase,
        Cpuid::PKU => Feature::Pku,
        Cpuid::RTM => Feature::Rtm,
        Cpuid::XSAVE => Feature::Xsave,
        Cpuid::XSAVEC => Feature::Xsavec,
        Cpuid::XSAVEOPT => Feature::Xsaveopt,
        Cpuid::AVX512F => Feature::Avx512f,
        Cpuid::AVX512VL => Feature::Avx512vl,
        Cpuid::AVX512BW => Feature::Avx512bw,
        Cpuid::AVX512DQ => Feature::Avx512dq,
        Cpuid::AVX512CD => Feature::Avx512cd,
        Cpuid::AVX512_IFMA => Feature::Avx512ifma,
        Cpuid::AVX512_VBMI => Feature::Avx512vbmi,
        Cpuid::AVX512_VBMI2 => Feature::Avx512vbmi2,
        Cpuid::AVX512_VNNI => Feature::Avx512vnni,
        Cpuid::AVX512_BITALG => Feature::Avx512bitalg,
        Cpuid::AVX512_VPOPCNTDQ => Feature::Avx512vpopcntdq,
        Cpuid::AVX512_VP2INTERSECT => Feature::Avx512vp2intersect,
        Cpuid::AVX512_BF16 => Feature::Avx512bf16,
        Cpuid::AVX512_FP16 => Feature::Avx512fp16,
        Cpuid::AMX_TILE => Feature::AmxTile,
        Cpuid::AMX_INT8 => Feature::AmxInt8,
        Cpuid::AMX_BF16 => Feature::AmxBf16,
        Cpuid::AMX_FP16 => Feature::AmxFp16,
        Cpuid::AMX_COMPLEX => Feature::AmxComplex,
        _ => return None,
    }))
}
