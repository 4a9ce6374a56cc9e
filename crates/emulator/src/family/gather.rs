//! Gathers: loads of lanes from addresses in a vector.
//!
//! A gather can be interrupted by a fault between two elements: what has been loaded stays, and
//! its mask lanes are cleared, so that the instruction goes on where it stopped (Intel SDM vol. 2,
//! VPGATHERDD). Everything else of both registers is zeroed only at the end.

use crate::context::Context;
use crate::fault::Fault;
use crate::operation::Operation::Special;
use crate::operation::rows;
use crate::vector::{Lane, Vector};

rows! {
    Vpgatherdd, Vgatherdps => Special(gather::<u32, u32>);
    Vpgatherdq, Vgatherdpd => Special(gather::<u32, u64>);
    Vpgatherqd, Vgatherqps => Special(gather::<u64, u32>);
    Vpgatherqq, Vgatherqpd => Special(gather::<u64, u64>);
}

/// Gathers elements `T` with indices `I`. The number of elements is limited by whichever of the
/// two fills the vector first.
fn gather<I: Lane, T: Lane>(cx: &mut Context<'_>) -> Result<(), Fault> {
    let (Some(destination), Some(mask_register), index) = (
        cx.vector_number(0),
        cx.vector_number(2),
        cx.instruction.memory_index(),
    ) else {
        return Err(Fault::Unknown);
    };
    // #UD if any two of the three registers are the same.
    let index = index.number();
    if destination == mask_register || destination == index || mask_register == index {
        return Err(Fault::Unknown);
    }
    let lanes = cx.execution.bytes / I::BYTES.max(T::BYTES);
    let mut result = cx.vector(0)?.truncated(lanes * T::BYTES);
    let mut mask = cx.vector(2)?.truncated(lanes * T::BYTES);
    for i in 0..lanes {
        if mask.lane::<u8>(i * T::BYTES + T::BYTES - 1) & 0x80 != 0 {
            match cx.load_from(cx.address(i), T::BYTES) {
                Ok(element) => result.set_lane::<T>(i, element.lane(0)),
                Err(fault) => {
                    let bytes = lanes * T::BYTES;
                    cx.merge_register(destination, &result, bytes);
                    cx.merge_register(mask_register, &mask, bytes);
                    return Err(fault);
                }
            }
        }
        (0..T::BYTES).for_each(|byte| mask.set_lane(i * T::BYTES + byte, 0u8));
    }
    cx.write_register(destination, &result);
    cx.write_register(mask_register, &Vector::ZERO);
    Ok(())
}
