//! Bit manipulation in general-purpose registers: BMI1, BMI2, TBM, ADX, LZCNT, POPCNT, MOVBE,
//! CRC32.

use crate::context::{Context, register};
use crate::execution::Execution;
use crate::family::flags::{result_flags, set};
use crate::fault::Fault;
use crate::operation::Operation::{Integer1, Integer2, Special};
use crate::operation::rows;
use crate::state::flag;
use iced_x86::Register;

rows! {
    Popcnt => Integer1(|e, a| {
        e.rflags &= !flag::STATUS;
        set(e, flag::ZF, a == 0);
        a.count_ones().into()
    });
    Lzcnt => Integer1(|e, a| {
        let zeros = a.leading_zeros() - (64 - e.bits.min(64));
        count_flags(e, zeros);
        zeros.into()
    });
    Tzcnt => Integer1(|e, a| {
        let zeros = a.trailing_zeros().min(e.bits);
        count_flags(e, zeros);
        zeros.into()
    });

    Andn => Integer2(|e, a, b| {
        let result = !a & b;
        result_flags(e, result, false)
    });
    Blsi => Integer1(|e, a| {
        let result = a & a.wrapping_neg();
        result_flags(e, result, a != 0)
    });
    Blsmsk => Integer1(|e, a| {
        let result = a ^ a.wrapping_sub(1);
        result_flags(e, result, a == 0)
    });
    Blsr => Integer1(|e, a| {
        let result = a & a.wrapping_sub(1);
        result_flags(e, result, a == 0)
    });

    // TBM (AMD APM vol. 3). CF: the carry or borrow out of adding or subtracting one. PF and AF
    // are undefined; they are left as by BLSR.
    Blcfill => Integer1(|e, a| above(e, a, |a, next| a & next));
    Blci => Integer1(|e, a| above(e, a, |a, next| a | !next));
    Blcic => Integer1(|e, a| above(e, a, |a, next| !a & next));
    Blcmsk => Integer1(|e, a| above(e, a, |a, next| a ^ next));
    Blcs => Integer1(|e, a| above(e, a, |a, next| a | next));
    T1mskc => Integer1(|e, a| above(e, a, |a, next| !a | next));
    Blsfill => Integer1(|e, a| below(e, a, |a, next| a | next));
    Blsic => Integer1(|e, a| below(e, a, |a, next| !a | next));
    Tzmsk => Integer1(|e, a| below(e, a, |a, next| !a & next));

    // Start in the low byte of the control, length in the next: a register, or TBM's immediate.
    Bextr => Integer2(|e, a, control| {
        let (start, length) = (control as u8, (control >> 8) as u8);
        let from = a.checked_shr(start.into()).unwrap_or(0);
        let result = result_flags(e, from & low_bits(length), false);
        // Undefined; what AMD CPUs do whatever the result.
        set(e, flag::AF, true);
        set(e, flag::SF, false);
        result
    });
    Bzhi => Integer2(|e, a, index| {
        let index = index as u8;
        let result = a & low_bits(index);
        let beyond = u32::from(index) >= e.bits;
        result_flags(e, result, beyond)
    });

    // These leave the flags alone.
    Pdep => Integer2(|_, a, mask| deposit(a, mask));
    Pext => Integer2(|_, a, mask| extract(a, mask));
    Sarx => Integer2(|e, a, count| {
        let unused = 64 - e.bits.min(64);
        (((a << unused) as i64 >> unused) >> shift_count(e, count)) as u64
    });
    Shlx => Integer2(|e, a, count| a << shift_count(e, count));
    Shrx => Integer2(|e, a, count| a >> shift_count(e, count));
    Rorx => Integer2(|e, a, count| {
        let count = shift_count(e, count);
        // For 32 bits a second copy above the first makes the rotation a shift.
        if e.bits == 32 { (a | a << 32) >> count } else { a.rotate_right(count) }
    });
    // Each with a carry of its own, so that two chains of additions can be interleaved.
    Adcx => Integer2(|e, a, b| add_with_carry(e, a, b, flag::CF));
    Adox => Integer2(|e, a, b| add_with_carry(e, a, b, flag::OF));
    Mulx => Special(multiply);
    Movbe => Special(move_swapped);
    Crc32 => Special(crc32);
}

/// The lowest `count` bits set.
fn low_bits(count: u8) -> u64 {
    1u64.checked_shl(count.into())
        .map_or(u64::MAX, |bit| bit.wrapping_sub(1))
}

fn shift_count(e: &Execution, count: u64) -> u32 {
    count as u32 & (e.bits.wrapping_sub(1) & 63)
}

/// CF: the source was zero; ZF: the result is. Of the undefined ones AMD CPUs leave OF alone and
/// clear the others.
fn count_flags(e: &mut Execution, result: u32) {
    e.rflags &= !(flag::PF | flag::AF | flag::SF);
    set(e, flag::CF, result == e.bits);
    set(e, flag::ZF, result == 0);
}

/// `f(a, a + 1)`, with the carry of the addition.
fn above(e: &mut Execution, a: u64, f: impl Fn(u64, u64) -> u64) -> u64 {
    let carry = a.trailing_ones() >= e.bits;
    result_flags(e, f(a, a.wrapping_add(1)), carry)
}

/// `f(a, a - 1)`, with the borrow of the subtraction.
fn below(e: &mut Execution, a: u64, f: impl Fn(u64, u64) -> u64) -> u64 {
    result_flags(e, f(a, a.wrapping_sub(1)), a == 0)
}

/// `a + b` plus the flag `carry`, which receives the carry out; other flags stay.
fn add_with_carry(e: &mut Execution, a: u64, b: u64, carry: u64) -> u64 {
    let carried = u128::from(e.rflags & carry != 0);
    let sum = u128::from(a)
        .wrapping_add(u128::from(b))
        .wrapping_add(carried);
    set(e, carry, sum >> e.bits.min(64) & 1 == 1);
    sum as u64
}

/// Puts the lowest bits of `a` where `mask` has ones.
fn deposit(mut a: u64, mut mask: u64) -> u64 {
    let mut result = 0;
    while mask != 0 {
        let lowest = mask & mask.wrapping_neg();
        if a & 1 == 1 {
            result |= lowest;
        }
        a >>= 1;
        mask &= mask.wrapping_sub(1);
    }
    result
}

/// Collects the bits of `a` where `mask` has ones.
fn extract(a: u64, mut mask: u64) -> u64 {
    let (mut result, mut place) = (0, 1u64);
    while mask != 0 {
        let lowest = mask & mask.wrapping_neg();
        if a & lowest != 0 {
            result |= place;
        }
        place = place.wrapping_shl(1);
        mask &= mask.wrapping_sub(1);
    }
    result
}

/// MULX high, low, source: the other factor is RDX. The high half is written last, and wins if
/// both destinations are the same register.
fn multiply(cx: &mut Context<'_>) -> Result<(), Fault> {
    let a = cx.integer(2)?;
    let wide = cx.execution.bits == 64;
    let rdx = cx.gpr(if wide { Register::RDX } else { Register::EDX });
    let product = u128::from(a).wrapping_mul(rdx.into());
    let high = product >> cx.execution.bits.min(64);
    cx.write_integer(1, product as u64)?;
    cx.write_integer(0, high as u64)
}

fn move_swapped(cx: &mut Context<'_>) -> Result<(), Fault> {
    let unused = 64 - cx.execution.bits.min(64);
    let value = cx.integer(1)?;
    cx.write_integer(0, value.swap_bytes() >> unused)
}

/// The Castagnoli polynomial, bits reversed.
const CASTAGNOLI: u32 = 0x82f6_3b78;

fn crc32(cx: &mut Context<'_>) -> Result<(), Fault> {
    let mut crc = cx.integer(0)? as u32;
    let bytes = if cx.execution.memory {
        cx.instruction.memory_size().size()
    } else {
        register(cx.instruction, 1).size()
    };
    let data = cx.integer(1)?.to_le_bytes();
    for byte in data.iter().take(bytes) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { CASTAGNOLI } else { 0 };
        }
    }
    cx.write_integer(0, crc.into())
}
