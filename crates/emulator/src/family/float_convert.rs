//! Conversions between floating-point formats and integers.

use crate::execution::Execution;
use crate::float::{self, Environment, F32, F64, Format, Rounding};
use crate::operation::Operation::{Binary, FromInteger, ToInteger, Unary};
use crate::operation::rows;
use crate::vector::{Vector, build};

rows! {
    Cvtdq2ps, Vcvtdq2ps => Unary(|e, a| build(e.bytes, |i| {
        F32::lane(float::from_i64::<F32>(&mut e.float, a.lane::<i32>(i).into()))
    }));
    Cvtdq2pd, Vcvtdq2pd => Unary(|e, a| build(e.bytes, |i| {
        float::from_i64::<F64>(&mut e.float, a.lane::<i32>(i).into())
    }));
    Cvtps2pd, Vcvtps2pd => Unary(|e, a| build(e.bytes, |i| {
        float::resize::<F32, F64>(&mut e.float, a.lane::<u32>(i).into())
    }));
    Cvtpd2ps, Vcvtpd2ps => Unary(|e, a| build(e.bytes / 2, |i| {
        F32::lane(float::resize::<F64, F32>(&mut e.float, a.lane(i)))
    }));
    Cvtps2dq, Vcvtps2dq => Unary(|e, a| to_i32::<F32>(e, a, false));
    Cvttps2dq, Vcvttps2dq => Unary(|e, a| to_i32::<F32>(e, a, true));
    Cvtpd2dq, Vcvtpd2dq => Unary(|e, a| to_i32::<F64>(e, a, false));
    Cvttpd2dq, Vcvttpd2dq => Unary(|e, a| to_i32::<F64>(e, a, true));

    // Two doublewords of an MMX register, or to one.
    Cvtpi2ps => Binary(|e, a, b| {
        let mut result = *a;
        for i in 0..2 {
            let value = float::from_i64::<F32>(&mut e.float, b.lane::<i32>(i).into());
            result.set_lane(i, F32::lane(value));
        }
        result
    });
    Cvtpi2pd => Unary(|e, a| build(16, |i| {
        float::from_i64::<F64>(&mut e.float, a.lane::<i32>(i).into())
    }));
    Cvtps2pi => Unary(|e, a| lanes_to_i32::<F32>(e, a, 2, false));
    Cvttps2pi => Unary(|e, a| lanes_to_i32::<F32>(e, a, 2, true));
    Cvtpd2pi => Unary(|e, a| lanes_to_i32::<F64>(e, a, 2, false));
    Cvttpd2pi => Unary(|e, a| lanes_to_i32::<F64>(e, a, 2, true));

    Cvtss2sd, Vcvtss2sd => Binary(|e, a, b| {
        scalar::<F64>(a, float::resize::<F32, F64>(&mut e.float, b.lane::<u32>(0).into()))
    });
    Cvtsd2ss, Vcvtsd2ss => Binary(|e, a, b| {
        scalar::<F32>(a, float::resize::<F64, F32>(&mut e.float, b.lane(0)))
    });
    Cvtsi2ss, Vcvtsi2ss => FromInteger(from_register::<F32>);
    Cvtsi2sd, Vcvtsi2sd => FromInteger(from_register::<F64>);
    Cvtss2si, Vcvtss2si => ToInteger(|e, a| to_register::<F32>(e, a, false));
    Cvtsd2si, Vcvtsd2si => ToInteger(|e, a| to_register::<F64>(e, a, false));
    Cvttss2si, Vcvttss2si => ToInteger(|e, a| to_register::<F32>(e, a, true));
    Cvttsd2si, Vcvttsd2si => ToInteger(|e, a| to_register::<F64>(e, a, true));

    Vcvtph2ps => Unary(|e, a| build(e.bytes, |i| {
        F32::lane(float::half_to_single(&mut e.float, a.lane::<u16>(i).into()))
    }));
    Vcvtps2ph => Unary(|e, a| build(e.bytes / 2, |i| {
        float::single_to_half(&mut e.float, a.lane::<u32>(i).into(), e.imm) as u16
    }));
}

fn scalar<F: Format>(a: &Vector, value: u64) -> Vector {
    let mut result = a.truncated(16);
    result.set_lane(0, F::lane(value));
    result
}

/// How a conversion to integers rounds: as MXCSR says, or towards zero.
fn rounding(env: &Environment, truncate: bool) -> Rounding {
    if truncate {
        Rounding::Zero
    } else {
        env.rounding
    }
}

fn to_i32<F: Format>(e: &mut Execution, a: &Vector, truncate: bool) -> Vector {
    let lanes = e.bytes * 8 / F::WIDTH as usize;
    lanes_to_i32::<F>(e, a, lanes, truncate)
}

/// Converts the first `lanes` lanes; those after them would raise exceptions of their own.
fn lanes_to_i32<F: Format>(e: &mut Execution, a: &Vector, lanes: usize, truncate: bool) -> Vector {
    let rounding = rounding(&e.float, truncate);
    build(lanes * 4, |i| {
        float::to_integer::<F>(&mut e.float, a.lane::<F::Bits>(i).into(), 32, rounding) as u32
    })
}

fn to_register<F: Format>(e: &mut Execution, a: &Vector, truncate: bool) -> u64 {
    let rounding = rounding(&e.float, truncate);
    float::to_integer::<F>(&mut e.float, a.lane::<F::Bits>(0).into(), e.bits, rounding) as u64
}

fn from_register<F: Format>(e: &mut Execution, a: &Vector, value: u64) -> Vector {
    let value = if e.bits == 32 {
        i64::from(value as i32)
    } else {
        value as i64
    };
    scalar::<F>(a, float::from_i64::<F>(&mut e.float, value))
}
