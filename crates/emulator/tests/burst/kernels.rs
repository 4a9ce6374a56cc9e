//! Real inner loops, interpreted and executed by the CPU.

use crate::world::{CODE, DATA, World};
use crate::{AMPLE, BASE};
use emulator::{Budget, Cache, EMULATED, End, State, burst};
use isa::{Feature, FeatureSet};
use std::arch::global_asm;

global_asm!(
    // void saxpy(size_t n, const float *a, const float *x, float *y): n a multiple of 8
    ".globl emulator_test_saxpy",
    "emulator_test_saxpy:",
    "vbroadcastss ymm0, [rsi]",
    "xor eax, eax",
    "2:",
    "vmovups ymm1, [rdx + rax*4]",
    "vfmadd213ps ymm1, ymm0, [rcx + rax*4]",
    "vmovups [rcx + rax*4], ymm1",
    "add rax, 8",
    "cmp rax, rdi",
    "jb 2b",
    "vzeroupper",
    "ret",
    "hlt",
    // double dot(size_t n, const double *a, const double *b, double *result): n a multiple of 4
    ".globl emulator_test_dot",
    "emulator_test_dot:",
    "vxorpd xmm0, xmm0, xmm0",
    "test rdi, rdi",
    "je 3f",
    "2:",
    "vmovupd ymm1, [rsi]",
    "vmulpd ymm1, ymm1, [rdx]",
    "vaddpd ymm0, ymm0, ymm1",
    "add rsi, 32",
    "add rdx, 32",
    "sub rdi, 4",
    "jne 2b",
    "3:",
    "vextractf128 xmm1, ymm0, 1",
    "vaddpd xmm0, xmm0, xmm1",
    "vunpckhpd xmm1, xmm0, xmm0",
    "vaddsd xmm0, xmm0, xmm1",
    "vmovsd [rcx], xmm0",
    "vzeroupper",
    "ret",
    "hlt",
    // size_t find(size_t n, const char *text, const char *byte, size_t *result)
    ".globl emulator_test_find",
    "emulator_test_find:",
    "vpbroadcastb ymm0, [rdx]",
    "push rbx",
    "mov rbx, rsi",
    "2:",
    "vpcmpeqb ymm1, ymm0, [rsi]",
    "vpmovmskb eax, ymm1",
    "test eax, eax",
    "jnz 3f",
    "add rsi, 32",
    "sub rdi, 32",
    "ja 2b",
    "mov rax, -1",
    "jmp 4f",
    "3:",
    "tzcnt eax, eax",
    "sub rsi, rbx",
    "lea rax, [rsi + rax]",
    "4:",
    "mov [rcx], rax",
    "pop rbx",
    "vzeroupper",
    "ret",
    "hlt",
    // void crypt(size_t n, uint64_t *state, uint64_t *table, uint64_t *result): integers and calls
    ".globl emulator_test_mix",
    "emulator_test_mix:",
    "push r12",
    "mov r12, rdi",
    "xor eax, eax",
    "2:",
    "call 5f",
    "lock xadd [rcx], rax",
    "dec r12",
    "jnz 2b",
    "pop r12",
    "vzeroupper",
    "ret",
    "5:",
    "mov r8, [rsi]",
    "rorx r9, r8, 17",
    "imul r8, r8, 0x5bd1e995",
    "xor r8, r9",
    "andn r10, r8, r9",
    "bzhi r11, r10, r12",
    "popcnt r11, r11",
    "movzx r9d, r8b",
    "and r9d, 31",
    "add r8, [rdx + r9*8]",
    "adc r8, r11",
    "mov [rsi], r8",
    "cmp r8, r10",
    "cmovb rax, r8",
    "setae al",
    "shld rax, r8, 7",
    "bt r8, 3",
    "sbb r9, r9",
    "xor rax, r9",
    "ret",
    "hlt",
);

unsafe extern "C" {
    fn emulator_test_saxpy(n: usize, a: u64, b: u64, c: u64);
    fn emulator_test_dot(n: usize, a: u64, b: u64, c: u64);
    fn emulator_test_find(n: usize, a: u64, b: u64, c: u64);
    fn emulator_test_mix(n: usize, a: u64, b: u64, c: u64);
}

type Kernel = unsafe extern "C" fn(usize, u64, u64, u64);

/// Bytes of code that hold any kernel here.
const LENGTH: usize = 160;
/// What a return from the kernel goes to: a HLT.
const RETURN: u64 = BASE;

/// Runs `kernel` in bursts of `budget` on `world`, whose code is the kernel's.
fn interpret(kernel: Kernel, n: usize, world: &mut World, budget: u32) -> u64 {
    emulator::init();
    let code = kernel as *const u8;
    // SAFETY: all kernels are in one piece of code, after which the linker puts more; at worst
    // bytes are read that are not the kernel's, never unmapped ones.
    let bytes = unsafe { std::slice::from_raw_parts(code, LENGTH) };
    let start = (CODE - BASE) as usize;
    world.bytes[start..start + LENGTH].copy_from_slice(bytes);
    world.bytes[0] = 0xf4;
    let mut state = State {
        rip: CODE,
        mxcsr: 0x1f80,
        ..State::default()
    };
    let stack = DATA + 0x1f00;
    world.bytes[(stack - BASE) as usize..][..8].copy_from_slice(&RETURN.to_le_bytes());
    state.gpr[4] = stack;
    state.gpr[7] = n as u64;
    state.gpr[6] = DATA;
    state.gpr[2] = DATA + 0x800;
    state.gpr[1] = DATA + 0x1000;
    let mut cache = Cache::new();
    let mut total = 0;
    let budget = Budget {
        instructions: budget,
        ..AMPLE
    };
    loop {
        let done = burst(&mut state, world, &mut cache, EMULATED, budget);
        total += u64::from(done.instructions);
        match done.end {
            End::Budget => {}
            End::Unknown if state.rip == RETURN => break,
            end => panic!("{end:?} at {:#x}", state.rip - CODE),
        }
    }
    assert_eq!(state.gpr[4], stack + 8);
    total
}

/// The same by the CPU, on a copy of the data.
fn native(kernel: Kernel, n: usize, world: &World) -> Vec<u8> {
    let mut data = world.bytes[(DATA - BASE) as usize..].to_vec();
    let start = data.as_mut_ptr() as u64;
    // SAFETY: the kernels stay within 2 KiB of each operand for the n used here.
    unsafe { kernel(n, start, start + 0x800, start + 0x1000) };
    data
}

fn compare(kernel: Kernel, n: usize, world: impl Fn() -> World, floor: u64) {
    let wanted: FeatureSet = [
        Feature::Avx2,
        Feature::Fma,
        Feature::Bmi1,
        Feature::Bmi2,
        Feature::Popcnt,
    ]
    .into_iter()
    .fold(FeatureSet::EMPTY, |set, feature| set.with(feature));
    if !isa::detect().is_superset(&wanted) {
        eprintln!("skipped: the CPU lacks {}", wanted - isa::detect());
        return;
    }
    let expected = native(kernel, n, &world());
    for budget in [1, 7, 100, 100_000] {
        let mut world = world();
        let total = interpret(kernel, n, &mut world, budget);
        assert!(total >= floor, "{total} instructions");
        // Below the stack.
        let data = &world.bytes[(DATA - BASE) as usize..][..0x1e00];
        assert!(data == &expected[..0x1e00], "n {n}, budget {budget}");
    }
}

fn floats() -> World {
    let mut world = World::new(&[]);
    let data = &mut world.bytes[(DATA - BASE) as usize..][..0x1800];
    for (i, place) in data.chunks_exact_mut(4).enumerate() {
        place.copy_from_slice(&(0.37 * i as f32 - 100.0).to_le_bytes());
    }
    world
}

fn doubles() -> World {
    let mut world = World::new(&[]);
    let data = &mut world.bytes[(DATA - BASE) as usize..][..0x1000];
    for (i, place) in data.chunks_exact_mut(8).enumerate() {
        place.copy_from_slice(&(0.37 * i as f64 - 100.0).to_le_bytes());
    }
    world
}

#[test]
fn saxpy() {
    compare(emulator_test_saxpy, 400, floats, 400 / 8 * 6);
}

#[test]
fn dot() {
    compare(emulator_test_dot, 200, doubles, 200 / 4 * 7);
    compare(emulator_test_dot, 0, doubles, 8);
}

#[test]
fn find() {
    let text = |at: usize| {
        move || {
            let mut world = World::new(&[]);
            let data = &mut world.bytes[(DATA - BASE) as usize..];
            data[..0x800].fill(b'x');
            data[at] = b'y';
            data[0x800] = b'y';
            world
        }
    };
    for at in [0, 1, 31, 32, 33, 1000, 1535] {
        compare(emulator_test_find, 1536, text(at), 10);
    }
}

#[test]
fn integers_calls_and_atomics() {
    compare(emulator_test_mix, 50, || World::new(&[]), 50 * 20);
}
