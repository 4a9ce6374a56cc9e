//! The CPU itself: runs one instruction on a [`State`] and reports what became of it.

use crate::cases::{DATA, GS_BASE};
use emulator::{State, Width, X87};
use std::arch::global_asm;
use std::mem::offset_of;
use std::ptr::addr_of_mut;
use std::sync::{Mutex, MutexGuard};

/// How the instruction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Completed,
    Signal {
        number: i32,
        code: i32,
        address: u64,
    },
}

/// What the assembler below shares with Rust.
#[repr(C)]
struct Exchange {
    state: State,
    fxsave: Image,
    entry: u64,
    host_rsp: u64,
    host_mxcsr: u32,
    signal: i32,
    code: i32,
    address: u64,
    /// Where a branch may lead, and whether it did.
    landing: u64,
    landed: u64,
}

/// An FXSAVE image.
#[repr(C, align(16))]
struct Image([u8; 512]);

static mut EXCHANGE: Exchange = Exchange {
    // SAFETY: zero is a valid value of every field (`Width::Xmm` is 0).
    state: unsafe { std::mem::zeroed() },
    fxsave: Image([0; 512]),
    entry: 0,
    host_rsp: 0,
    host_mxcsr: 0,
    signal: 0,
    code: 0,
    address: 0,
    landing: 0,
    landed: 0,
};

global_asm!(
    ".altmacro",
    ".macro load_one instruction:req, register:req, number:req",
    "\\instruction \\register\\number, [rip + {x} + {vectors} + \\number * 64]",
    ".endm",
    ".macro store_one instruction:req, register:req, number:req",
    "\\instruction [rip + {x} + {vectors} + \\number * 64], \\register\\number",
    ".endm",
    ".macro load_all instruction:req, register:req, count:req",
    ".set i, 0",
    ".rept \\count",
    "load_one \\instruction, \\register, %i",
    ".set i, i + 1",
    ".endr",
    ".endm",
    ".macro store_all instruction:req, register:req, count:req",
    ".set i, 0",
    ".rept \\count",
    "store_one \\instruction, \\register, %i",
    ".set i, i + 1",
    ".endr",
    ".endm",
    ".globl emulator_test_native_run",
    "emulator_test_native_run:",
    "push rbx", "push rbp", "push r12", "push r13", "push r14", "push r15",
    "mov [rip + {x} + {host_rsp}], rsp",
    "stmxcsr [rip + {x} + {host_mxcsr}]",
    "fxrstor64 [rip + {x} + {fxsave}]",
    "cmp byte ptr [rip + {x} + {width}], 1",
    "je 1f",
    "ja 2f",
    "load_all movups, xmm, 16",
    "jmp 3f",
    "1: load_all vmovups, ymm, 16",
    "jmp 3f",
    "2: load_all vmovups, zmm, 32",
    "3: ldmxcsr [rip + {x} + {mxcsr}]",
    "push qword ptr [rip + {x} + {rflags}]",
    "popfq",
    "mov rax, [rip + {x} + {gpr} + 0]",
    "mov rcx, [rip + {x} + {gpr} + 8]",
    "mov rdx, [rip + {x} + {gpr} + 16]",
    "mov rbx, [rip + {x} + {gpr} + 24]",
    "mov rsp, [rip + {x} + {gpr} + 32]",
    "mov rbp, [rip + {x} + {gpr} + 40]",
    "mov rsi, [rip + {x} + {gpr} + 48]",
    "mov rdi, [rip + {x} + {gpr} + 56]",
    "mov r8, [rip + {x} + {gpr} + 64]",
    "mov r9, [rip + {x} + {gpr} + 72]",
    "mov r10, [rip + {x} + {gpr} + 80]",
    "mov r11, [rip + {x} + {gpr} + 88]",
    "mov r12, [rip + {x} + {gpr} + 96]",
    "mov r13, [rip + {x} + {gpr} + 104]",
    "mov r14, [rip + {x} + {gpr} + 112]",
    "mov r15, [rip + {x} + {gpr} + 120]",
    "jmp [rip + {x} + {entry}]",
    ".globl emulator_test_native_landed",
    "emulator_test_native_landed:",
    "mov qword ptr [rip + {x} + {landed}], 1",
    ".globl emulator_test_native_return",
    "emulator_test_native_return:",
    "mov [rip + {x} + {gpr} + 0], rax",
    "mov [rip + {x} + {gpr} + 8], rcx",
    "mov [rip + {x} + {gpr} + 16], rdx",
    "mov [rip + {x} + {gpr} + 24], rbx",
    "mov [rip + {x} + {gpr} + 32], rsp",
    "mov [rip + {x} + {gpr} + 40], rbp",
    "mov [rip + {x} + {gpr} + 48], rsi",
    "mov [rip + {x} + {gpr} + 56], rdi",
    "mov [rip + {x} + {gpr} + 64], r8",
    "mov [rip + {x} + {gpr} + 72], r9",
    "mov [rip + {x} + {gpr} + 80], r10",
    "mov [rip + {x} + {gpr} + 88], r11",
    "mov [rip + {x} + {gpr} + 96], r12",
    "mov [rip + {x} + {gpr} + 104], r13",
    "mov [rip + {x} + {gpr} + 112], r14",
    "mov [rip + {x} + {gpr} + 120], r15",
    "mov rsp, [rip + {x} + {host_rsp}]",
    "pushfq",
    "pop [rip + {x} + {rflags}]",
    "stmxcsr [rip + {x} + {mxcsr}]",
    "ldmxcsr [rip + {x} + {host_mxcsr}]",
    "cmp byte ptr [rip + {x} + {width}], 1",
    "je 1f",
    "ja 2f",
    "store_all movups, xmm, 16",
    "jmp 3f",
    "1: store_all vmovups, ymm, 16",
    "vzeroupper",
    "jmp 3f",
    "2: store_all vmovups, zmm, 32",
    "vzeroupper",
    "3: fxsave64 [rip + {x} + {fxsave}]",
    "fninit",
    "cld",
    "pop r15", "pop r14", "pop r13", "pop r12", "pop rbp", "pop rbx",
    "ret",
    ".noaltmacro",
    x = sym EXCHANGE,
    gpr = const offset_of!(Exchange, state.gpr),
    rflags = const offset_of!(Exchange, state.rflags),
    mxcsr = const offset_of!(Exchange, state.mxcsr),
    vectors = const offset_of!(Exchange, state.vector),
    fxsave = const offset_of!(Exchange, fxsave),
    width = const offset_of!(Exchange, state.width),
    entry = const offset_of!(Exchange, entry),
    landed = const offset_of!(Exchange, landed),
    host_rsp = const offset_of!(Exchange, host_rsp),
    host_mxcsr = const offset_of!(Exchange, host_mxcsr),
);

unsafe extern "C" {
    fn emulator_test_native_run();
    fn emulator_test_native_return();
    fn emulator_test_native_landed();
}

/// Records the signal and goes on after the instruction, with its registers as they were.
extern "C" fn on_signal(number: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the kernel passes valid pointers; EXCHANGE is only used by the thread that runs the
    // instruction, which is this one, under the lock of `Oracle`.
    unsafe {
        let exchange = addr_of_mut!(EXCHANGE);
        let rip = &mut (*context).uc_mcontext.gregs[libc::REG_RIP as usize];
        if *rip as u64 == (*exchange).landing {
            (*exchange).landed = 1;
        } else if *rip as u64 != (*exchange).entry {
            // Not the instruction under test: die of it.
            libc::signal(number, libc::SIG_DFL);
            return;
        }
        (*exchange).signal = number;
        (*exchange).code = (*info).si_code;
        (*exchange).address = (*info).si_addr() as u64;
        *rip = emulator_test_native_return as *const () as i64;
    }
}

/// The IA32_TSC_AUX of this CPU.
pub(crate) fn time_stamp_aux() -> u32 {
    let mut aux = 0;
    // SAFETY: only called where the CPU has RDPID, which none has without RDTSCP.
    unsafe { std::arch::x86_64::__rdtscp(&raw mut aux) };
    aux
}

/// Where the arena is: below 2 GiB so that 32-bit addresses reach it, and the same in every run so
/// that a seed means the same case.
pub(crate) const ARENA: u64 = 0x2000_0000;

/// The arena: a page of code, a page without access, two of data, a page without access.
pub(crate) struct Oracle {
    base: u64,
    stack: Vec<u8>,
    pub width: Width,
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

impl Oracle {
    pub(crate) fn new() -> Self {
        let alone = ALONE
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let width = if std::is_x86_feature_detected!("avx512f") {
            Width::Zmm
        } else if std::is_x86_feature_detected!("avx") {
            Width::Ymm
        } else {
            Width::Xmm
        };
        let mut stack = vec![0; 1 << 16];
        // SAFETY: plain system calls on memory and handlers that this object owns; the alternate
        // stack lives as long as it.
        let base = unsafe {
            let base = libc::mmap(
                ARENA as *mut libc::c_void,
                5 * 4096,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
                -1,
                0,
            );
            assert_eq!(base as u64, ARENA);
            let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
            assert_eq!(libc::mprotect(base, 4096, all), 0);
            let data = base.byte_add(2 * 4096);
            assert_eq!(
                libc::mprotect(data, DATA, libc::PROT_READ | libc::PROT_WRITE),
                0
            );
            let alternate = libc::stack_t {
                ss_sp: stack.as_mut_ptr().cast(),
                ss_flags: 0,
                ss_size: stack.len(),
            };
            assert_eq!(
                libc::sigaltstack(&raw const alternate, std::ptr::null_mut()),
                0
            );
            for signal in [libc::SIGILL, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE] {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = on_signal as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                assert_eq!(
                    libc::sigaction(signal, &raw const action, std::ptr::null_mut()),
                    0
                );
            }
            // RDPID must give the same twice.
            let mut cpus: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(libc::sched_getcpu() as usize, &mut cpus);
            assert_eq!(
                libc::sched_setaffinity(0, size_of_val(&cpus), &raw const cpus),
                0
            );
            const ARCH_SET_GS: i32 = 0x1001;
            assert_eq!(libc::syscall(libc::SYS_arch_prctl, ARCH_SET_GS, GS_BASE), 0);
            base as u64
        };
        Self {
            base,
            stack,
            width,
            _alone: alone,
        }
    }

    /// Where the instruction under test begins.
    pub(crate) fn code(&self) -> u64 {
        self.base + 64
    }

    /// The first byte of the data pages; the page before and the page after cannot be accessed.
    pub(crate) fn data(&self) -> u64 {
        self.base + 2 * 4096
    }

    /// The data pages.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: mapped readable and writable in `new`, and only reachable through `self`.
        unsafe { std::slice::from_raw_parts_mut(self.data() as *mut u8, DATA) }
    }

    /// Bits of MXCSR that this CPU lets be set.
    pub(crate) fn mxcsr_mask() -> u32 {
        #[repr(align(16))]
        struct Area([u8; 512]);
        let mut area = Area([0; 512]);
        // SAFETY: FXSAVE writes the 512 aligned bytes it is given; every x86-64 CPU has it.
        unsafe { std::arch::x86_64::_fxsave64(area.0.as_mut_ptr()) };
        match area
            .0
            .as_chunks()
            .0
            .get(7)
            .copied()
            .map_or(0, u32::from_le_bytes)
        {
            0 => State::DEFAULT_MXCSR_MASK,
            mask => mask,
        }
    }

    /// Executes `instruction` on `state`.
    pub(crate) fn run(&mut self, instruction: &[u8], state: &mut State) -> Outcome {
        self.run_branch(instruction, self.code(), state)
    }

    /// Executes `instruction`, which may branch to `landing`, on `state`. There has to be room for
    /// a jump beside the instruction, unless nothing can be executed there at all.
    pub(crate) fn run_branch(
        &mut self,
        instruction: &[u8],
        landing: u64,
        state: &mut State,
    ) -> Outcome {
        let entry = self.code();
        let width = self.width;
        // SAFETY: the code page is ours and big enough for 15 bytes and the jumps; the instruction
        // is one that changes only the registers saved and the data pages, or raises a signal that
        // `on_signal` turns into a return.
        unsafe {
            let code = entry as *mut u8;
            std::ptr::copy_nonoverlapping(instruction.as_ptr(), code, instruction.len());
            let back = emulator_test_native_return as *const () as u64;
            write_jump(code.add(instruction.len()), back);
            if landing != entry && landing.wrapping_sub(self.base) <= 4096 - JUMP as u64 {
                let landed = emulator_test_native_landed as *const () as u64;
                write_jump(landing as *mut u8, landed);
            }
            let exchange = addr_of_mut!(EXCHANGE);
            (*exchange).state = *state;
            (*exchange).state.width = width;
            // Whatever MXCSR and XMM registers are in it are loaded again from the state.
            let image = &mut (*exchange).fxsave.0;
            image[24..28].copy_from_slice(&State::INITIAL_MXCSR.to_le_bytes());
            let x87 = image.first_chunk_mut::<{ X87::IMAGE }>();
            state.x87.to_image(x87.expect("is longer"));
            (*exchange).entry = entry;
            (*exchange).landing = landing;
            (*exchange).landed = 0;
            (*exchange).signal = 0;
            emulator_test_native_run();
            let (old_width, end) = (state.width, entry + instruction.len() as u64);
            *state = (*exchange).state;
            let image = &(*exchange).fxsave.0;
            let x87 = image.first_chunk::<{ X87::IMAGE }>();
            state.x87 = X87::from_image(x87.expect("is longer"));
            state.width = old_width;
            if (*exchange).landed != 0 {
                state.rip = landing;
            } else if (*exchange).signal == 0 {
                state.rip = end;
            }
            if (*exchange).signal == 0 {
                Outcome::Completed
            } else {
                Outcome::Signal {
                    number: (*exchange).signal,
                    code: (*exchange).code,
                    address: (*exchange).address,
                }
            }
        }
    }
}

/// Size of a jump to anywhere.
const JUMP: usize = 14;

/// Writes a jump to `to`.
///
/// # Safety
/// `at` must be the start of [`JUMP`] bytes that can be written.
unsafe fn write_jump(at: *mut u8, to: u64) {
    // jmp [rip + 0], and the address.
    let jump = [0xff, 0x25, 0, 0, 0, 0];
    // SAFETY: by the caller's promise.
    unsafe {
        std::ptr::copy_nonoverlapping(jump.as_ptr(), at, 6);
        at.add(6).cast::<u64>().write_unaligned(to);
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // SAFETY: undoes what `new` did; nothing points into the arena any more.
        unsafe {
            let off = libc::stack_t {
                ss_sp: std::ptr::null_mut(),
                ss_flags: libc::SS_DISABLE,
                ss_size: 0,
            };
            libc::sigaltstack(&raw const off, std::ptr::null_mut());
            for signal in [libc::SIGILL, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE] {
                libc::signal(signal, libc::SIG_DFL);
            }
            libc::munmap(self.base as *mut libc::c_void, 5 * 4096);
        }
        self.stack.clear();
    }
}
