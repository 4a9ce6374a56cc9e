//! Loads and stores of selected lanes. Lanes that are not selected are not touched, even where
//! they lie in memory that cannot be accessed.

use crate::context::Context;
use crate::fault::Fault;
use crate::operation::Operation::Special;
use crate::operation::rows;
use crate::vector::{Lane, Vector};

rows! {
    Vmaskmovps, Vpmaskmovd => Special(move_selected::<u32>);
    Vmaskmovpd, Vpmaskmovq => Special(move_selected::<u64>);
}

fn move_selected<T: Lane>(cx: &mut Context<'_>) -> Result<(), Fault> {
    let mask = cx.vector(1)?;
    let selected = |i: usize| mask.lane::<u8>(i * T::BYTES + T::BYTES - 1) & 0x80 != 0;
    let address = cx.address(0);
    if cx.is_memory(0) {
        let source = cx.vector(2)?;
        return store(cx, address, &source, T::BYTES, selected);
    }
    let mut result = Vector::ZERO;
    for i in (0..cx.execution.bytes / T::BYTES).filter(|&i| selected(i)) {
        let lane = cx.load_from(address.wrapping_add((i * T::BYTES) as u64), T::BYTES)?;
        result.set_lane::<T>(i, lane.lane(0));
    }
    cx.write_vector(0, &result)
}

/// The smallest page: two lanes can differ in accessibility only across a multiple of it.
pub(super) const PAGE: u64 = 4096;

/// Stores the selected lanes of `size` bytes, all or none of them.
pub(super) fn store(
    cx: &mut Context<'_>,
    address: u64,
    source: &Vector,
    size: usize,
    selected: impl Fn(usize) -> bool,
) -> Result<(), Fault> {
    let place = |i: usize| address.wrapping_add((i * size) as u64);
    let bytes = cx.execution.bytes;
    let lanes = || (0..bytes / size.max(1)).filter(|&i| selected(i));
    if address / PAGE != address.wrapping_add(bytes as u64).wrapping_sub(1) / PAGE {
        for i in lanes() {
            cx.memory.check_write(place(i), size)?;
        }
    }
    for i in lanes() {
        let lane = source.0.get(i * size..(i + 1) * size);
        cx.memory.write(place(i), lane.unwrap_or_default())?;
    }
    Ok(())
}
