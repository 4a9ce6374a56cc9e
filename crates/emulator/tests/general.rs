//! The ordinary integer instructions where the CPU cannot be asked: other threads, pages that
//! refuse, addresses that RIP cannot have. What they compute is compared with the CPU in
//! `tests/native`.
#![expect(
    clippy::cast_possible_truncation,
    reason = "the fake page is filled with truncated numbers on purpose"
)]

mod fake;

use emulator::{
    Access, CodeOnly, EMULATED, Fault, FaultKind, Memory, MemoryFault, State, Step, flag,
};
use fake::{CODE, DATA, Page};

const END: u64 = DATA + 4096;

/// A state with RAX and RSP in the middle of the page and something in every other register.
fn state() -> State {
    let mut state = State {
        rip: CODE,
        ..State::default()
    };
    for (register, i) in state.gpr.iter_mut().zip(3..) {
        *register = i * 0x0101_0101;
    }
    state.gpr[0] = DATA + 0x400;
    state.gpr[4] = DATA + 0x800;
    state
}

fn step(memory: &mut impl Memory, state: &mut State) -> Result<Step, Fault> {
    emulator::init();
    emulator::step(state, memory, EMULATED)
}

fn run(code: &[u8], state: &mut State) -> Page {
    let mut memory = Page::new(code);
    step(&mut memory, state).unwrap_or_else(|fault| panic!("{code:02x?}: {fault:?}"));
    memory
}

fn qword(memory: &Page, address: u64) -> u64 {
    let at = (address - DATA) as usize;
    u64::from_le_bytes(memory.data[at..at + 8].try_into().expect("eight bytes"))
}

/// The instruction must end with `expected` and change nothing.
fn refuses(code: &[u8], mut state: State, read_only: bool, expected: Fault) {
    let mut memory = Page::new(code);
    memory.read_only = read_only;
    let (before, data) = (state, memory.data.clone());
    let result = step(&mut memory, &mut state);
    assert_eq!(result, Err(expected), "{code:02x?}");
    assert_eq!(state, before, "{code:02x?}");
    assert_eq!(memory.data, data, "{code:02x?}");
}

fn unwritable(address: u64) -> Fault {
    Fault::Memory(MemoryFault {
        address,
        access: Access::Write,
        kind: FaultKind::Forbidden,
    })
}

fn unmapped(address: u64, access: Access) -> Fault {
    Fault::Memory(MemoryFault {
        address,
        access,
        kind: FaultKind::Unmapped,
    })
}

#[test]
fn a_page_that_cannot_be_written_leaves_registers_and_flags() {
    let s = state();
    let at_rax: &[&[u8]] = &[
        &[0x01, 0x08],             // add [rax], ecx
        &[0x83, 0x10, 0x01],       // adc dword [rax], 1
        &[0xff, 0x00],             // inc dword [rax]
        &[0xf7, 0x18],             // neg dword [rax]
        &[0xf7, 0x10],             // not dword [rax]
        &[0xc1, 0x20, 0x03],       // shl dword [rax], 3
        &[0xc1, 0x20, 0x00],       // shl dword [rax], 0
        &[0x0f, 0xa4, 0x08, 0x03], // shld [rax], ecx, 3
        &[0x0f, 0xab, 0x10],       // bts [rax], edx, whose bit is beyond the page
        &[0x0f, 0xc1, 0x08],       // xadd [rax], ecx
        &[0x0f, 0xb1, 0x08],       // cmpxchg [rax], ecx: not equal
        &[0x0f, 0xc7, 0x08],       // cmpxchg8b [rax]: not equal
        &[0xf0, 0x0f, 0xb1, 0x08], // lock cmpxchg [rax], ecx
        &[0xf0, 0x01, 0x08],       // lock add [rax], ecx
        &[0x87, 0x08],             // xchg [rax], ecx
        &[0x8f, 0x00],             // pop [rax]
        &[0x0f, 0x94, 0x00],       // sete [rax]
        &[0x89, 0x08],             // mov [rax], ecx
    ];
    for code in at_rax {
        let mut s = s;
        s.gpr[2] = 5;
        refuses(code, s, true, unwritable(s.gpr[0]));
    }
    let at_rsp: &[&[u8]] = &[
        &[0x51],                         // push rcx
        &[0x6a, 0x07],                   // push 7
        &[0xff, 0x30],                   // push [rax]
        &[0xe8, 0x10, 0x00, 0x00, 0x00], // call
        &[0xff, 0xd1],                   // call rcx
        &[0xff, 0x10],                   // call [rax]
    ];
    for code in at_rsp {
        let mut s = s;
        if code == &[0xff, 0x10] {
            // An address that the page happens to hold is not canonical: the stack comes first.
            assert_ne!(qword(&Page::new(&[]), s.gpr[0]) >> 48, 0);
        }
        s.rflags |= flag::STATUS;
        refuses(code, s, true, unwritable(s.gpr[4] - 8));
    }
}

#[test]
fn a_stack_at_the_end_of_the_page_leaves_everything() {
    let mut s = state();
    s.gpr[4] = END - 4;
    s.gpr[5] = END - 4;
    for code in [&[0x59][..], &[0xc3], &[0x8f, 0x00], &[0xc9]] {
        refuses(code, s, false, unmapped(END, Access::Read)); // pop rcx, ret, pop [rax], leave
    }
}

#[test]
fn a_conditional_move_reads_its_source_in_any_case() {
    let mut s = state();
    s.gpr[0] = END;
    // cmove ecx, [rax]: ZF is clear.
    refuses(&[0x0f, 0x44, 0x08], s, false, unmapped(END, Access::Read));
}

#[test]
fn pop_finds_its_operand_after_rsp_has_moved() {
    let mut s = state();
    let rsp = s.gpr[4];
    let memory = run(&[0x8f, 0x44, 0x24, 0x10], &mut s); // pop [rsp + 16]
    let popped = qword(&Page::new(&[]), rsp);
    assert_eq!(qword(&memory, rsp + 8 + 16), popped);
    assert_eq!(s.gpr[4], rsp + 8);
    // pop rsp: what was popped wins.
    let mut s = state();
    run(&[0x5c], &mut s);
    assert_eq!(s.gpr[4], popped);
    // push rsp: as it was before.
    let mut s = state();
    let memory = run(&[0x54], &mut s);
    assert_eq!((qword(&memory, rsp - 8), s.gpr[4]), (rsp, rsp - 8));
}

#[test]
fn a_register_selects_bits_far_from_the_operand() {
    // bts qword [rax], rcx
    let code = [0x48, 0x0f, 0xab, 0x08];
    for (bit, byte, mask) in [
        (3i64, 0isize, 8u8),
        (64 * 5 + 1, 40, 2),
        (-1, -1, 0x80),
        (-64, -8, 1),
        (-65, -9, 0x80),
    ] {
        let mut s = state();
        s.gpr[1] = bit.cast_unsigned();
        let before = Page::new(&[]).data;
        let at = 0x400usize.wrapping_add_signed(byte);
        let memory = run(&code, &mut s);
        assert_eq!(memory.data[at], before[at] | mask, "bit {bit}");
        assert_eq!(s.rflags & flag::CF != 0, before[at] & mask != 0);
        let changed = (0..4096).filter(|&i| memory.data[i] != before[i]);
        assert!(changed.count() <= 1);
    }
    // An immediate does not: bts qword [rax], 64 + 3
    let memory = run(&[0x48, 0x0f, 0xba, 0x28, 67], &mut state());
    let before = Page::new(&[]).data;
    assert_eq!(memory.data[0x400], before[0x400] | 8);
    assert_eq!(memory.data[0x401..], before[0x401..]);
    // Nor does it where the operand is a register: bt rdx, rcx
    let mut s = state();
    (s.gpr[1], s.gpr[2]) = (64 + 5, 1 << 5);
    run(&[0x48, 0x0f, 0xa3, 0xca], &mut s);
    assert_ne!(s.rflags & flag::CF, 0);
}

#[test]
fn a_bit_offset_wraps_with_a_short_address() {
    // bt qword [eax], rcx: 2^32 - 8 bytes on is eight bytes back.
    let mut s = state();
    s.gpr[0] |= 0xdead_beef << 32;
    s.gpr[1] = 0xffff_fff8 << 3;
    let mut memory = Page::new(&[0x67, 0x48, 0x0f, 0xa3, 0x08]);
    memory.data[0x3f8] = 1;
    step(&mut memory, &mut s).expect("completes");
    assert_ne!(s.rflags & flag::CF, 0);
}

#[test]
fn lea_takes_no_segment_and_touches_nothing() {
    let mut s = state();
    (s.fs_base, s.gpr[0]) = (0x1234, 7);
    run(&[0x64, 0x48, 0x8d, 0x48, 0x01], &mut s); // lea rcx, fs:[rax + 1]
    assert_eq!(s.gpr[1], 8);
    // nop [rax]
    let mut s = state();
    s.gpr[0] = 0;
    run(&[0x0f, 0x1f, 0x00], &mut s);
}

#[test]
fn segments_count_for_operands_and_not_for_the_stack() {
    let mut s = state();
    (s.gs_base, s.gpr[0]) = (DATA, 0x20);
    let rsp = s.gpr[4];
    let memory = run(&[0x65, 0xff, 0x30], &mut s); // push gs:[rax]
    let expected = qword(&Page::new(&[]), DATA + 0x20);
    assert_eq!(qword(&memory, rsp - 8), expected);
}

#[test]
fn divisions_that_cannot_be_are_divide_errors() {
    let divide = |code: &[u8], rax: u64, rdx: u64, rcx: u64| {
        let mut s = state();
        (s.gpr[0], s.gpr[1], s.gpr[2]) = (rax, rcx, rdx);
        refuses(code, s, false, Fault::Divide);
    };
    divide(&[0x48, 0xf7, 0xf1], 1, 0, 0); // div rcx by zero
    divide(&[0x48, 0xf7, 0xf9], 1, 0, 0); // idiv rcx by zero
    divide(&[0x48, 0xf7, 0xf1], 0, 1, 1); // 2^64 / 1
    divide(&[0x48, 0xf7, 0xf9], 1 << 63, u64::MAX, u64::MAX); // -2^63 / -1
    divide(&[0x48, 0xf7, 0xf9], 0, 1 << 63, u64::MAX); // -2^127 / -1
    divide(&[0xf7, 0xf9], 0x8000_0000, 0xffff_ffff, 0xffff_ffff); // idiv ecx
    divide(&[0xf6, 0xf1], 0x100, 0, 1); // div cl
}

#[test]
fn rip_must_be_canonical() {
    let beyond = 0x0100_0000_0000_0000; // fits no paging mode
    let five_levels = 0x0000_8000_0000_0000; // fits 57 bits, and may be an address or not
    for (target, expected) in [(beyond, Fault::Protection), (five_levels, Fault::Unknown)] {
        let mut s = state();
        s.gpr[1] = target;
        refuses(&[0xff, 0xe1], s, false, expected); // jmp rcx
        refuses(&[0xff, 0xd1], s, false, expected); // call rcx
        let mut memory = Page::new(&[0xc3]); // ret
        memory.data[0x800..0x808].copy_from_slice(&target.to_le_bytes());
        let before = s;
        assert_eq!(step(&mut memory, &mut s), Err(expected));
        assert_eq!(s, before);
        // A relative branch from the last address below: jmp +0
        let rip = target - 2;
        let mut s = State { rip, ..state() };
        let mut code = CodeOnly {
            address: rip,
            code: &[0xeb, 0x00],
        };
        assert_eq!(step(&mut code, &mut s), Err(expected));
        assert_eq!(s.rip, rip);
    }
    // The upper half is canonical, whoever owns it.
    let mut s = state();
    s.gpr[1] = 0xffff_8000_0000_0000;
    run(&[0xff, 0xe1], &mut s);
    assert_eq!(s.rip, 0xffff_8000_0000_0000);
}

#[test]
fn call_and_ret_find_each_other() {
    let mut s = state();
    let rsp = s.gpr[4];
    let mut memory = Page::new(&[0xe8, 0x0b, 0x00, 0x00, 0x00]); // call +11
    step(&mut memory, &mut s).expect("completes");
    assert_eq!((s.rip, s.gpr[4]), (CODE + 16, rsp - 8));
    s.rip = CODE;
    memory.code = vec![0xc2, 0x20, 0x00]; // ret 32
    step(&mut memory, &mut s).expect("completes");
    assert_eq!((s.rip, s.gpr[4]), (CODE + 5, rsp + 32));
}

#[test]
fn a_thread_with_a_shadow_stack_calls_and_returns_by_itself() {
    for code in [&[0xe8, 0, 0, 0, 0][..], &[0xc3], &[0xff, 0xd1]] {
        let s = State {
            shadow_stack: true,
            ..state()
        };
        refuses(code, s, false, Fault::Unknown);
    }
}

#[test]
fn what_is_left_to_the_cpu_is_refused_and_not_called_emulated() {
    let left: &[&[u8]] = &[
        &[0x66, 0xe9, 0x00, 0x00],             // jmp with a 16-bit operand
        &[0x66, 0xe9, 0x00, 0x00, 0x00, 0x00], // the same as Intel decodes it
        &[0x66, 0xeb, 0x00],
        &[0x66, 0x74, 0x00], // je
        &[0x66, 0x0f, 0x84, 0, 0, 0, 0],
        &[0x66, 0xe8, 0, 0, 0, 0], // call
        &[0x66, 0xff, 0xd0],
        &[0x66, 0xff, 0xe0],
        &[0x66, 0xc3], // ret
        &[0x66, 0xc2, 0, 0],
        &[0x66, 0xe2, 0x00],             // loop
        &[0x66, 0xe3, 0x00],             // jrcxz
        &[0xff, 0x28],                   // jmp far [rax]
        &[0x48, 0xff, 0x18],             // call far [rax]
        &[0xcb],                         // retf
        &[0x0f, 0x05],                   // syscall
        &[0x0f, 0xa2],                   // cpuid
        &[0xcc],                         // int3
        &[0xf4],                         // hlt
        &[0x9c],                         // pushfq
        &[0x9d],                         // popfq
        &[0xfd],                         // std
        &[0xa4],                         // movsb
        &[0xf3, 0xa4],                   // rep movsb
        &[0xf3, 0x48, 0xa5],             // rep movsq
        &[0xaa],                         // stosb
        &[0xc8, 0x10, 0x00, 0x00],       // enter
        &[0x0f, 0xa0],                   // push fs
        &[0x8c, 0xd8],                   // mov eax, ds
        &[0x8e, 0xd8],                   // mov ds, eax
        &[0x0f, 0x20, 0xc0],             // mov rax, cr0
        &[0x0f, 0x01, 0xd0],             // xgetbv
        &[0xc7, 0xf8, 0, 0, 0, 0],       // xbegin
        &[0xd9, 0xc0],                   // fld st0
        &[0xf3, 0x48, 0x0f, 0x1e, 0xc8], // rdsspq rax
        &[0x66, 0x0f, 0xc8],             // bswap ax
        &[0xf0, 0x89, 0x08],             // lock mov
        &[0xf0, 0x01, 0xc8],             // lock add eax, ecx
        &[0x0f, 0x0b],                   // ud2
    ];
    emulator::init();
    for code in left {
        refuses(code, state(), false, Fault::Unknown);
        let emulated = emulator::attribute(code).is_some_and(|a| a.emulated);
        assert!(!emulated, "{code:02x?}");
    }
}

/// Memory that another thread writes to, right before each of the first `writes` exchanges.
struct Contended {
    page: Page,
    writes: u32,
    offered: bool,
}

impl Memory for Contended {
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<(), MemoryFault> {
        self.page.read(address, buffer)
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), MemoryFault> {
        panic!("a locked instruction must not just write");
    }

    fn check_write(&mut self, address: u64, length: usize) -> Result<(), MemoryFault> {
        self.page.check_write(address, length)
    }

    fn fetch(&mut self, address: u64, buffer: &mut [u8]) -> usize {
        self.page.fetch(address, buffer)
    }

    fn compare_exchange(
        &mut self,
        address: u64,
        size: usize,
        expected: u64,
        new: u64,
    ) -> Result<Option<u64>, MemoryFault> {
        if !self.offered {
            return Ok(None);
        }
        if self.writes > 0 {
            self.writes -= 1;
            let other = &mut self.page.data[0x400];
            *other = other.wrapping_add(1);
        }
        self.page.compare_exchange(address, size, expected, new)
    }
}

impl Contended {
    /// Memory that the instruction at CODE finds a 0 in at DATA + 0x400.
    fn new(code: &[u8], writes: u32) -> Self {
        let mut page = Page::new(code);
        page.data[0x400..0x410].fill(0);
        Self {
            page,
            writes,
            offered: true,
        }
    }

    fn value(&self) -> u64 {
        qword(&self.page, DATA + 0x400)
    }
}

#[test]
fn a_locked_instruction_sees_what_other_threads_write() {
    // lock add qword [rax], 1: the flags, too, are those of the last try.
    let mut memory = Contended::new(&[0xf0, 0x48, 0x83, 0x00, 0x01], 15);
    let mut s = state();
    step(&mut memory, &mut s).expect("completes");
    assert_eq!((memory.value(), memory.writes), (16, 0));
    assert_eq!(s.rflags & flag::STATUS, flag::AF);

    // lock adc qword [rax], 0: the carry is that of the start each time.
    let mut memory = Contended::new(&[0xf0, 0x48, 0x83, 0x10, 0x00], 5);
    let mut s = state();
    s.rflags |= flag::CF;
    step(&mut memory, &mut s).expect("completes");
    assert_eq!((memory.value(), s.rflags & flag::CF), (6, 0));

    // lock inc qword [rax] keeps CF through all tries.
    let mut memory = Contended::new(&[0xf0, 0x48, 0xff, 0x00], 5);
    let mut s = state();
    s.rflags |= flag::CF;
    step(&mut memory, &mut s).expect("completes");
    assert_eq!((memory.value(), s.rflags & flag::CF), (6, 1));

    // lock xadd [rax], rcx
    let mut memory = Contended::new(&[0xf0, 0x48, 0x0f, 0xc1, 0x08], 3);
    let mut s = state();
    s.gpr[1] = 100;
    step(&mut memory, &mut s).expect("completes");
    assert_eq!((memory.value(), s.gpr[1]), (103, 3));

    // xchg [rax], rcx is locked without a prefix.
    let mut memory = Contended::new(&[0x48, 0x87, 0x08], 3);
    let mut s = state();
    s.gpr[1] = 100;
    step(&mut memory, &mut s).expect("completes");
    assert_eq!((memory.value(), s.gpr[1]), (100, 3));

    // lock bts qword [rax], 1: when it comes to it another thread has set the bit.
    let mut memory = Contended::new(&[0xf0, 0x48, 0x0f, 0xba, 0x28, 0x01], 2);
    let mut s = state();
    step(&mut memory, &mut s).expect("completes");
    assert_eq!((memory.value(), s.rflags & flag::CF), (2, 1));
}

#[test]
fn a_locked_comparison_is_made_with_what_is_there_in_the_end() {
    // lock cmpxchg [rcx], rdx with RAX = 0, which is there until another thread writes 1.
    let mut memory = Contended::new(&[0xf0, 0x48, 0x0f, 0xb1, 0x11], 1);
    let mut s = state();
    (s.gpr[0], s.gpr[1], s.gpr[2]) = (0, DATA + 0x400, 77);
    step(&mut memory, &mut s).expect("completes");
    assert_eq!((memory.value(), s.gpr[0]), (1, 1));
    assert_eq!(s.rflags & flag::ZF, 0);
    // With RAX = 1 it is the other way round.
    let mut memory = Contended::new(&[0xf0, 0x48, 0x0f, 0xb1, 0x11], 1);
    let mut s = state();
    (s.gpr[0], s.gpr[1], s.gpr[2]) = (1, DATA + 0x400, 77);
    step(&mut memory, &mut s).expect("completes");
    assert_eq!((memory.value(), s.gpr[0]), (77, 1));
    assert_ne!(s.rflags & flag::ZF, 0);
    // lock cmpxchg8b [rsi] with EDX:EAX = 1
    let mut memory = Contended::new(&[0xf0, 0x0f, 0xc7, 0x0e], 1);
    let mut s = state();
    (s.gpr[0], s.gpr[2], s.gpr[1], s.gpr[3]) = (1, 0, 5, 6);
    s.gpr[6] = DATA + 0x400;
    step(&mut memory, &mut s).expect("completes");
    assert_eq!(memory.value(), 5 << 32 | 6);
}

#[test]
fn a_locked_instruction_gives_up_when_it_is_always_disturbed() {
    let mut memory = Contended::new(&[0xf0, 0x48, 0x83, 0x00, 0x10], u32::MAX);
    let mut s = state();
    let before = s;
    assert_eq!(step(&mut memory, &mut s), Err(Fault::Unknown));
    assert_eq!(s, before);
}

#[test]
fn a_locked_instruction_needs_a_memory_that_can_exchange() {
    for code in [&[0xf0, 0x48, 0x83, 0x00, 0x10][..], &[0x48, 0x87, 0x08]] {
        let mut memory = Contended::new(code, 0);
        memory.offered = false;
        let mut s = state();
        let before = s;
        assert_eq!(step(&mut memory, &mut s), Err(Fault::Unknown));
        assert_eq!((s, memory.value()), (before, 0));
    }
}
