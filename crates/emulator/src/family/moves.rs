//! Moves of whole registers, scalars and halves.

use crate::context::Context;
use crate::family::masked::PAGE;
use crate::fault::Fault;
use crate::memory::MemoryFault;
use crate::operation::Operation::{Binary, Integer1, Special, Unary};
use crate::operation::rows;
use crate::vector::{Lane, Vector};
use iced_x86::{OpKind, Register};

rows! {
    // Those with an A, and the non-temporal ones, fault on unaligned memory: see
    // `Context::check_alignment`.
    Movaps, Vmovaps, Movapd, Vmovapd, Movdqa, Vmovdqa,
    Movups, Vmovups, Movupd, Vmovupd, Movdqu, Vmovdqu, Lddqu, Vlddqu,
    Movntps, Vmovntps, Movntpd, Vmovntpd, Movntdq, Vmovntdq, Movntdqa, Vmovntdqa, Movntq
        => Unary(|_, a| *a);
    Movd, Vmovd => Unary(|_, a| Vector::from_lane(a.lane::<u32>(0)));
    Movq, Vmovq, Movq2dq, Movdq2q => Unary(|_, a| Vector::from_lane(a.lane::<u64>(0)));

    Movnti, Movdiri => Integer1(|_, a| a);
    // The first operand holds an address in ES, whose base is 0. The CPU stores the 64 bytes in
    // one piece, which a device could notice; here `Memory::write` decides.
    Movdir64b => Special(|cx| {
        let source = cx.load()?;
        let to = cx.integer(0)?;
        if !to.is_multiple_of(64) {
            return Err(Fault::Alignment { address: to });
        }
        cx.memory.write(to, &source.0)?;
        Ok(())
    });

    Movss, Vmovss => Special(scalar::<u32>);
    Movsd, Vmovsd => Special(scalar::<u64>);
    Movhlps, Vmovhlps => Binary(|_, a, b| pair(b.lane(1), a.lane(1)));
    Movlhps, Vmovlhps => Binary(|_, a, b| pair(a.lane(0), b.lane(0)));
    Movhps, Vmovhps, Movhpd, Vmovhpd => Special(|cx| half(cx, 1));
    Movlps, Vmovlps, Movlpd, Vmovlpd => Special(|cx| half(cx, 0));
    Maskmovdqu, Vmaskmovdqu, Maskmovq => Special(store_selected_bytes);
}

fn pair(low: u64, high: u64) -> Vector {
    let mut result = Vector::from_lane(low);
    result.set_lane(1, high);
    result
}

/// A scalar loaded from memory clears the rest of the register; one from a register leaves the
/// rest of the first source.
fn scalar<T: Lane>(cx: &mut Context<'_>) -> Result<(), Fault> {
    let last = cx.operands().saturating_sub(1);
    let source = cx.vector(last)?;
    let result = if cx.execution.memory {
        Vector::from_lane(source.lane::<T>(0))
    } else {
        let mut rest = cx.vector(u32::from(last > 1))?.truncated(16);
        rest.set_lane(0, source.lane::<T>(0));
        rest
    };
    cx.write_vector(0, &result)
}

/// Moves quadword `place` of a register to memory, or memory to it.
fn half(cx: &mut Context<'_>, place: usize) -> Result<(), Fault> {
    let last = cx.operands().saturating_sub(1);
    let source = cx.vector(last)?;
    if cx.is_memory(0) {
        return cx.store(&Vector::from_lane(source.lane::<u64>(place)));
    }
    let mut result = cx.vector(u32::from(last > 1))?.truncated(16);
    result.set_lane(place, source.lane::<u64>(0));
    cx.write_vector(0, &result)
}

/// MASKMOVDQU: stores at RDI the bytes whose mask has its highest bit set.
fn store_selected_bytes(cx: &mut Context<'_>) -> Result<(), Fault> {
    let (source, mask) = (cx.vector(1)?, cx.vector(2)?);
    let base = match cx.instruction.memory_segment() {
        Register::FS => cx.state.fs_base,
        Register::GS => cx.state.gs_base,
        _ => 0,
    };
    let narrow = cx.kind(0) == OpKind::MemorySegEDI;
    let rdi = cx.gpr(if narrow { Register::EDI } else { Register::RDI });
    let address = base.wrapping_add(rdi);
    let selected = |i| mask.lane::<u8>(i) & 0x80 != 0;
    super::masked::store(cx, address, &source, 1, selected).map_err(|fault| match fault {
        // The CPU reports where the operand enters the page, not the first selected byte.
        Fault::Memory(fault) => Fault::Memory(MemoryFault {
            address: address.max(fault.address & !(PAGE - 1)),
            ..fault
        }),
        other => other,
    })
}
