//! Memory operands that cannot be accessed, at the edges of the only page there is.
#![expect(
    clippy::cast_possible_truncation,
    reason = "the fake page is filled with truncated numbers on purpose"
)]

mod fake;

use emulator::{Access, EMULATED, Fault, FaultKind, MemoryFault, State, Vector};
use fake::{CODE, DATA, Page};

const END: u64 = DATA + 4096;

/// A state with RAX = `address` and something in every register.
fn state(address: u64) -> State {
    let mut state = State {
        rip: CODE,
        ..State::default()
    };
    state
        .gpr
        .iter_mut()
        .zip(3..)
        .for_each(|(r, i)| *r = i * 0x0101_0101);
    for (v, i) in state.vector.iter_mut().zip(1u8..) {
        *v = Vector([i; 64]);
    }
    state.gpr[0] = address;
    state
}

fn step(memory: &mut Page, state: &mut State) -> Result<emulator::Step, Fault> {
    emulator::init();
    emulator::step(state, memory, EMULATED)
}

fn fault(address: u64, access: Access, kind: FaultKind) -> Fault {
    Fault::Memory(MemoryFault {
        address,
        access,
        kind,
    })
}

/// An instruction with a memory operand at RAX must fault at `expected` and leave everything.
fn faults_cleanly(code: &[u8], address: u64, expected: Fault) {
    let mut memory = Page::new(code);
    let data = memory.data.clone();
    let mut s = state(address);
    let before = s;
    assert_eq!(
        step(&mut memory, &mut s),
        Err(expected),
        "{code:02x?} at {address:#x}"
    );
    assert_eq!(s, before);
    assert_eq!(memory.data, data);
}

#[test]
fn an_address_that_is_not_canonical_faults_by_its_segment() {
    const WILD: u64 = 1 << 60;
    for (code, kind) in [
        // vmovups ymm1, [rax]; [rbp]; [rsp]; [r13]; ds:[rbp]; fs:[rbp]
        (&[0xc5, 0xfc, 0x10, 0x08][..], FaultKind::NonCanonical),
        (&[0xc5, 0xfc, 0x10, 0x4d, 0], FaultKind::NonCanonicalStack),
        (
            &[0xc5, 0xfc, 0x10, 0x0c, 0x24],
            FaultKind::NonCanonicalStack,
        ),
        (&[0xc4, 0xc1, 0x7c, 0x10, 0x4d, 0], FaultKind::NonCanonical),
        (
            &[0x3e, 0xc5, 0xfc, 0x10, 0x4d, 0],
            FaultKind::NonCanonicalStack,
        ),
        (&[0x64, 0xc5, 0xfc, 0x10, 0x4d, 0], FaultKind::NonCanonical),
    ] {
        let mut state = state(WILD);
        for register in [4, 5, 13] {
            state.gpr[register] = WILD;
        }
        let before = state;
        let result = step(&mut Page::new(code), &mut state);
        assert_eq!(result, Err(fault(WILD, Access::Read, kind)), "{code:02x?}");
        assert_eq!(state, before);
    }
}

#[test]
fn an_operand_across_the_edge_faults_at_the_first_missing_byte() {
    let unmapped = |access| fault(END, access, FaultKind::Unmapped);
    // vpaddd ymm0, ymm1, [rax]
    faults_cleanly(&[0xc5, 0xf5, 0xfe, 0x00], END - 31, unmapped(Access::Read));
    // vmovups [rax], ymm1
    faults_cleanly(&[0xc5, 0xfc, 0x11, 0x08], END - 31, unmapped(Access::Write));
    // vpmovzxbw ymm0, [rax]: sixteen bytes only
    faults_cleanly(
        &[0xc4, 0xe2, 0x7d, 0x30, 0x00],
        END - 15,
        unmapped(Access::Read),
    );
    // vpextrb [rax], xmm1, 0
    faults_cleanly(
        &[0xc4, 0xe3, 0x79, 0x14, 0x08, 0x00],
        END,
        unmapped(Access::Write),
    );
    // movbe [rax], ecx
    faults_cleanly(&[0x0f, 0x38, 0xf1, 0x08], END - 3, unmapped(Access::Write));
    // tzcnt rcx, [rax]
    faults_cleanly(
        &[0xf3, 0x48, 0x0f, 0xbc, 0x08],
        END - 7,
        unmapped(Access::Read),
    );
}

#[test]
fn an_operand_that_ends_at_the_edge_does_not_fault() {
    let mut memory = Page::new(&[0xc5, 0xf5, 0xfe, 0x00]); // vpaddd ymm0, ymm1, [rax]
    let mut s = state(END - 32);
    step(&mut memory, &mut s).expect("completes");
}

#[test]
fn a_read_only_page_forbids_stores() {
    let mut memory = Page::new(&[0xc5, 0xfc, 0x11, 0x08]); // vmovups [rax], ymm1
    memory.read_only = true;
    let mut s = state(DATA);
    let expected = fault(DATA, Access::Write, FaultKind::Forbidden);
    assert_eq!(step(&mut memory, &mut s), Err(expected));
}

#[test]
fn alignment_is_checked_where_the_instruction_demands_it() {
    let misaligned = |address| Fault::Alignment { address };
    // vmovaps ymm0, [rax]; vmovntdq [rax], ymm1; paddd xmm0, [rax]
    faults_cleanly(&[0xc5, 0xfc, 0x28, 0x00], DATA + 16, misaligned(DATA + 16));
    faults_cleanly(&[0xc5, 0xfd, 0xe7, 0x08], DATA + 16, misaligned(DATA + 16));
    faults_cleanly(&[0x66, 0x0f, 0xfe, 0x00], DATA + 8, misaligned(DATA + 8));
    // vpaddd xmm0, xmm1, [rax] has no such demand.
    let mut memory = Page::new(&[0xc5, 0xf1, 0xfe, 0x00]);
    step(&mut memory, &mut state(DATA + 1)).expect("completes");
}

#[test]
fn masked_lanes_beyond_the_page_are_not_touched() {
    // The mask, YMM1, selects the lower four dwords; the upper four are on the next page.
    let mask = {
        let mut mask = Vector::ZERO;
        (0..4).for_each(|i| mask.set_lane(i, u32::MAX));
        mask
    };
    let mut memory = Page::new(&[0xc4, 0xe2, 0x75, 0x8c, 0x00]); // vpmaskmovd ymm0, ymm1, [rax]
    let mut s = state(END - 16);
    s.vector[1] = mask;
    step(&mut memory, &mut s).expect("completes");
    assert_eq!(s.vector[0].0[..16], memory.data[4080..]);
    assert_eq!(s.vector[0].0[16..], [0; 48]);

    let mut memory = Page::new(&[0xc4, 0xe2, 0x75, 0x8e, 0x10]); // vpmaskmovd [rax], ymm1, ymm2
    let mut s = state(END - 16);
    s.vector[1] = mask;
    step(&mut memory, &mut s).expect("completes");
    assert_eq!(memory.data[4080..], [3; 16]);
}

#[test]
fn a_masked_store_that_faults_stores_nothing() {
    let mut memory = Page::new(&[0xc4, 0xe2, 0x75, 0x8e, 0x10]); // vpmaskmovd [rax], ymm1, ymm2
    let data = memory.data.clone();
    let mut s = state(END - 16);
    s.vector[1] = Vector([0xff; 64]).truncated(32);
    let before = s;
    let expected = fault(END, Access::Write, FaultKind::Unmapped);
    assert_eq!(step(&mut memory, &mut s), Err(expected));
    assert_eq!((s, memory.data), (before, data));
}

#[test]
fn a_gather_keeps_what_it_has_and_goes_on_from_there() {
    let mut memory = Page::new(&[0xc4, 0xe2, 0x75, 0x90, 0x04, 0x10]); // vpgatherdd ymm0, [rax+ymm2], ymm1
    let mut s = state(DATA);
    s.vector[1] = Vector([0xff; 64]).truncated(32);
    // Element 5 is beyond the page.
    for i in 0..8 {
        s.vector[2].set_lane(i, if i == 5 { 4096 } else { i as u32 * 16 });
    }
    let before = s;
    let expected = fault(END, Access::Read, FaultKind::Unmapped);
    assert_eq!(step(&mut memory, &mut s), Err(expected));
    assert_eq!(s.rip, before.rip);
    let element = |memory: &Page, i: usize| {
        u32::from_le_bytes(memory.data[i * 16..i * 16 + 4].try_into().unwrap())
    };
    for i in 0..5 {
        assert_eq!(s.vector[0].lane::<u32>(i), element(&memory, i));
        assert_eq!(s.vector[1].lane::<u32>(i), 0);
    }
    for i in 5..8 {
        assert_eq!(s.vector[0].lane::<u32>(i), before.vector[0].lane::<u32>(i));
        assert_eq!(s.vector[1].lane::<u32>(i), u32::MAX);
    }
    // The page appears; the elements already loaded must not be loaded again.
    for i in 0..5 {
        memory.data[i * 16] ^= 0xff;
    }
    let loaded = s.vector[0];
    memory.data.resize(8192, 0x5a);
    step(&mut memory, &mut s).expect("completes");
    for i in 0..5 {
        assert_eq!(s.vector[0].lane::<u32>(i), loaded.lane::<u32>(i));
    }
    assert_eq!(s.vector[0].lane::<u32>(5), 0x5a5a_5a5a);
    assert_eq!(s.vector[0].lane::<u32>(7), element(&memory, 7));
    assert_eq!(s.vector[1], Vector::ZERO);
}

#[test]
fn code_that_ends_in_the_middle_of_an_instruction_is_a_fetch_fault() {
    let mut memory = Page::new(&[0xc5, 0xf5]);
    let mut s = state(DATA);
    let before = s;
    let expected = fault(CODE + 2, Access::Execute, FaultKind::Unmapped);
    assert_eq!(step(&mut memory, &mut s), Err(expected));
    assert_eq!(s, before);
}

#[test]
fn ldmxcsr_refuses_reserved_bits() {
    let mut memory = Page::new(&[0xc5, 0xf8, 0xae, 0x10]); // vldmxcsr [rax]
    memory.data[..4].copy_from_slice(&0x0001_1f80u32.to_le_bytes());
    let mut s = state(DATA);
    let before = s;
    assert_eq!(step(&mut memory, &mut s), Err(Fault::Protection));
    assert_eq!(s, before);
}
