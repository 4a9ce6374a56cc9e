//! Integer comparisons that give all ones or all zeros.

use crate::operation::{lanewise, rows};

/// All ones for true.
macro_rules! lanes_where {
    ($t:ty, $a:ident $operator:tt $b:ident) => {
        lanewise!(|$a: $t, $b: $t| (0 as $t).wrapping_sub(<$t>::from($a $operator $b)))
    };
}

rows! {
    Pcmpeqb, Vpcmpeqb => lanes_where!(i8, a == b);
    Pcmpeqw, Vpcmpeqw => lanes_where!(i16, a == b);
    Pcmpeqd, Vpcmpeqd => lanes_where!(i32, a == b);
    Pcmpeqq, Vpcmpeqq => lanes_where!(i64, a == b);
    Pcmpgtb, Vpcmpgtb => lanes_where!(i8, a > b);
    Pcmpgtw, Vpcmpgtw => lanes_where!(i16, a > b);
    Pcmpgtd, Vpcmpgtd => lanes_where!(i32, a > b);
    Pcmpgtq, Vpcmpgtq => lanes_where!(i64, a > b);
}
