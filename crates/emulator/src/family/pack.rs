//! Narrowing with saturation and widening.

use crate::execution::Execution;
use crate::operation::Operation::{Binary, Unary};
use crate::operation::rows;
use crate::vector::{Lane, Vector, build};

/// Widens each lane of the low part of the source, from `$from` to `$to`.
macro_rules! widen {
    ($from:ty => $to:ty) => {
        Unary(|e, a| build(e.bytes, |i| <$to>::from(a.lane::<$from>(i))))
    };
}

rows! {
    Packsswb, Vpacksswb => Binary(|e, a, b| narrow(e, a, b, |x: i16| {
        x.clamp(i8::MIN.into(), i8::MAX.into()) as i8
    }));
    Packssdw, Vpackssdw => Binary(|e, a, b| narrow(e, a, b, |x: i32| {
        x.clamp(i16::MIN.into(), i16::MAX.into()) as i16
    }));
    Packuswb, Vpackuswb => Binary(|e, a, b| narrow(e, a, b, |x: i16| x.clamp(0, 0xff) as u8));
    Packusdw, Vpackusdw => Binary(|e, a, b| narrow(e, a, b, |x: i32| x.clamp(0, 0xffff) as u16));

    Pmovsxbw, Vpmovsxbw => widen!(i8 => i16);
    Pmovsxbd, Vpmovsxbd => widen!(i8 => i32);
    Pmovsxbq, Vpmovsxbq => widen!(i8 => i64);
    Pmovsxwd, Vpmovsxwd => widen!(i16 => i32);
    Pmovsxwq, Vpmovsxwq => widen!(i16 => i64);
    Pmovsxdq, Vpmovsxdq => widen!(i32 => i64);
    Pmovzxbw, Vpmovzxbw => widen!(u8 => u16);
    Pmovzxbd, Vpmovzxbd => widen!(u8 => u32);
    Pmovzxbq, Vpmovzxbq => widen!(u8 => u64);
    Pmovzxwd, Vpmovzxwd => widen!(u16 => u32);
    Pmovzxwq, Vpmovzxwq => widen!(u16 => u64);
    Pmovzxdq, Vpmovzxdq => widen!(u32 => u64);
}

/// In each block, the lanes of `a` made half as wide by `f`, then those of `b`.
fn narrow<T: Lane, R: Lane>(e: &Execution, a: &Vector, b: &Vector, f: impl Fn(T) -> R) -> Vector {
    let lanes = e.block() / T::BYTES;
    build(e.bytes, |i| {
        let (block, place) = (i / (2 * lanes) * lanes, i % (2 * lanes));
        if place < lanes {
            f(a.lane(block + place))
        } else {
            f(b.lane(block + place - lanes))
        }
    })
}
