//! The registers of the interrupted thread, in and out of the signal frame.
//!
//! The kernel saves the vector registers as an XSAVE image in standard format
//! (Intel SDM vol. 1, 13.4) behind `uc_mcontext.fpregs`. The last 48 bytes of
//! its legacy area are the software's: a magic number, the size, the
//! components (arch/x86/include/uapi/asm/sigcontext.h, `_fpx_sw_bytes`). A
//! clear bit in XSTATE_BV means that the component is in its initial state,
//! whatever its bytes say.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use emulator::{State, Vector, Width, X87};

use super::thread::Local;

/// Bit of a state component in XCR0 and XSTATE_BV.
const X87_BIT: u64 = 1 << 0;
const SSE: u64 = 1 << 1;
const YMM: u64 = 1 << 2;
const ZMM_HI256: u64 = 1 << 6;
const PKRU: u64 = 1 << 9;

const FXSAVE_MXCSR: usize = 24;
const FXSAVE_MXCSR_MASK: usize = 28;
const FXSAVE_ST: usize = 32;
const FXSAVE_XMM: usize = 160;
const SOFTWARE: usize = 464;
/// `FP_XSTATE_MAGIC1`.
const MAGIC1: u32 = 0x4650_5853;
const XSTATE_BV: usize = 512;
const LEGACY_AND_HEADER: usize = 576;

/// Offsets of YMM_Hi128, ZMM_Hi256 and PKRU in the standard format (CPUID leaf
/// 0xD, EBX of the component's subleaf); 0 where the CPU has no such component.
static OFFSETS: [AtomicU32; 3] = [const { AtomicU32::new(0) }; 3];

/// OSPKE: the OS has set CR4.PKE, so that WRPKRU does not raise #UD.
static HAS_WRPKRU: AtomicBool = AtomicBool::new(false);

/// Asks the CPU where components lie. Once, before the first trap; the guest's
/// layout is fixed at boot (a host with another one is no possible target).
pub(super) fn init() {
    if isa::cpuid(0, 0)[0] >= 0xd {
        // qemu-user puts PKRU into the frame of a CPU that has no WRPKRU.
        let ospke = isa::cpuid(7, 0)[2] & 1 << 4 != 0;
        HAS_WRPKRU.store(ospke, Ordering::Relaxed);
        for (offset, component) in OFFSETS.iter().zip([2, 6, 9]) {
            offset.store(isa::cpuid(0xd, component)[1], Ordering::Relaxed);
        }
    }
}

/// Whether signal frames have the upper halves of YMM registers: the OS has enabled them.
pub(super) fn has_ymm() -> bool {
    let osxsave = isa::cpuid(1, 0)[2] & 1 << 27 != 0;
    if !osxsave {
        return false;
    }
    let xcr0: u32;
    // SAFETY: OSXSAVE says that XGETBV can be executed; it changes EAX and EDX only.
    unsafe {
        core::arch::asm!("xgetbv", in("ecx") 0, out("eax") xcr0, out("edx") _,
            options(nomem, nostack, preserves_flags));
    }
    u64::from(xcr0) & YMM != 0
}

/// Gives the handler the MXCSR that Rust code expects. Linux has done so when it made the frame
/// (arch/x86/kernel/fpu/signal.c, `fpu__clear_user_states`); qemu-user leaves the program's.
pub(super) fn reset_mxcsr() {
    let initial = State::INITIAL_MXCSR;
    // SAFETY: a value that every CPU takes; the thread's own comes back with the frame.
    unsafe {
        core::arch::asm!("ldmxcsr [{}]", in(reg) &raw const initial,
            options(nostack, readonly, preserves_flags));
    }
}

/// Clears RFLAGS.AC, which a handler inherits from the interrupted thread: compiled code, the
/// handler's too, makes unaligned accesses.
pub(super) fn clear_alignment_check() {
    // SAFETY: changes one flag that no compiled code depends on.
    unsafe {
        core::arch::asm!("pushfq", "and dword ptr [rsp], {}", "popfq", const !(1u32 << 18).cast_signed());
    }
}

/// The general registers in the order of their encoding, as indexes into
/// `uc_mcontext.gregs` (`libc::REG_RAX` and so on).
const GPRS: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// Index of a register in `uc_mcontext.gregs`; `libc` has them as C's int.
pub(super) const fn index(register: i32) -> usize {
    register.unsigned_abs() as usize
}

/// A signal frame that holds vector registers.
pub(super) struct Frame<'a> {
    context: &'a mut libc::ucontext_t,
    image: *mut u8,
    /// The components that the frame has room for.
    components: u64,
    size: usize,
}

impl<'a> Frame<'a> {
    /// The frame behind `context`; `None` if it holds no XSAVE or FXSAVE image.
    ///
    /// # Safety
    /// `context` must be the third argument of the running signal handler.
    pub(super) unsafe fn new(context: &'a mut libc::ucontext_t) -> Option<Self> {
        let image = context.uc_mcontext.fpregs.cast::<u8>();
        if image.is_null() {
            return None;
        }
        let mut frame = Self {
            context,
            image,
            components: SSE,
            size: 512,
        };
        if frame.load_u32(SOFTWARE) == MAGIC1 {
            // extended_size, xfeatures, xstate_size.
            frame.size = LEGACY_AND_HEADER;
            frame.components = u64::from(frame.load_u32(SOFTWARE + 8))
                | u64::from(frame.load_u32(SOFTWARE + 12)) << 32;
            frame.size = frame.load_u32(SOFTWARE + 16) as usize;
        }
        Some(frame)
    }

    /// Where it ends: above it the stack is the interrupted thread's.
    pub(super) fn end(&self) -> u64 {
        let image = self.image.addr() as u64;
        // FP_XSTATE_MAGIC2 follows the image.
        image.wrapping_add(self.size as u64 + 4)
    }

    /// Address of the interrupted instruction.
    pub(super) fn rip(&self) -> u64 {
        self.context.uc_mcontext.gregs[index(libc::REG_RIP)].cast_unsigned()
    }

    /// Lets the handler touch what the interrupted thread may touch: the
    /// kernel gave it a PKRU of its own.
    pub(super) fn restore_pkru(&self) {
        if !HAS_WRPKRU.load(Ordering::Relaxed) {
            return;
        }
        if let Some(at) = self.component(PKRU, 2, 4) {
            let value = if self.in_use() & PKRU != 0 {
                self.load_u32(at)
            } else {
                0
            };
            // SAFETY: CR4.PKE is set; the thread ran with this value until now.
            unsafe {
                core::arch::asm!("wrpkru", in("eax") value, in("ecx") 0, in("edx") 0,
                    options(nostack, preserves_flags));
            }
        }
    }

    /// Copies the registers out of the frame.
    pub(super) fn load(&self, state: &mut State, thread: Option<&Local>) {
        let gregs = &self.context.uc_mcontext.gregs;
        for (to, from) in state.gpr.iter_mut().zip(GPRS) {
            *to = gregs[index(from)].cast_unsigned();
        }
        state.rip = self.rip();
        state.rflags = gregs[index(libc::REG_EFL)].cast_unsigned();
        state.mxcsr = self.load_u32(FXSAVE_MXCSR);
        state.mxcsr_mask = match self.load_u32(FXSAVE_MXCSR_MASK) {
            0 => State::DEFAULT_MXCSR_MASK,
            mask => mask,
        };
        let in_use = self.in_use();
        if in_use & SSE != 0 {
            for (i, vector) in state.vector.iter_mut().take(16).enumerate() {
                part(vector, 0, self.load_bytes(FXSAVE_XMM + i * 16));
            }
        }
        state.width = Width::Ymm;
        match self.component(YMM, 0, 256) {
            Some(at) if in_use & YMM != 0 => {
                for (i, vector) in state.vector.iter_mut().take(16).enumerate() {
                    part(vector, 1, self.load_bytes(at + i * 16));
                }
            }
            Some(_) => {}
            None => match thread.and_then(Local::upper_halves) {
                Some(halves) => {
                    for (vector, upper) in state.vector.iter_mut().zip(halves) {
                        part(vector, 1, *upper);
                    }
                }
                None => state.width = Width::Xmm,
            },
        }
        if let Some(at) = self.component(ZMM_HI256, 1, 512)
            && in_use & ZMM_HI256 != 0
        {
            for (i, vector) in state.vector.iter_mut().take(16).enumerate() {
                part(vector, 2, self.load_bytes(at + i * 32));
                part(vector, 3, self.load_bytes(at + i * 32 + 16));
            }
        }
    }

    /// Copies the registers back; the thread goes on with them.
    pub(super) fn store(&mut self, state: &State, thread: Option<&Local>) {
        let gregs = &mut self.context.uc_mcontext.gregs;
        for (from, to) in state.gpr.iter().zip(GPRS) {
            gregs[index(to)] = from.cast_signed();
        }
        gregs[index(libc::REG_RIP)] = state.rip.cast_signed();
        gregs[index(libc::REG_EFL)] = state.rflags.cast_signed();
        self.store_mxcsr(state.mxcsr);
        let was_in_use = self.in_use();
        let mut in_use = was_in_use | SSE;
        for (i, vector) in state.vector.iter().take(16).enumerate() {
            self.store_bytes(FXSAVE_XMM + i * 16, quarter(vector, 0));
        }
        if let Some(at) = self.component(YMM, 0, 256) {
            let mut any = 0;
            for (i, vector) in state.vector.iter().take(16).enumerate() {
                let upper = quarter(vector, 1);
                any |= u128::from_ne_bytes(upper);
                self.store_bytes(at + i * 16, upper);
            }
            // Left in its initial state where it was.
            if any != 0 {
                in_use |= YMM;
            }
        } else if let Some(thread) = thread.filter(|_| state.width == Width::Ymm) {
            thread.set_upper_halves(state.vector.iter().map(|vector| quarter(vector, 1)));
        }
        if let Some(at) = self.component(ZMM_HI256, 1, 512)
            && in_use & ZMM_HI256 != 0
        {
            for (i, vector) in state.vector.iter().take(16).enumerate() {
                self.store_bytes(at + i * 32, quarter(vector, 2));
                self.store_bytes(at + i * 32 + 16, quarter(vector, 3));
            }
        }
        if self.size >= LEGACY_AND_HEADER && in_use != was_in_use {
            self.store_bytes(XSTATE_BV, in_use.to_le_bytes());
        }
    }

    /// Copies the x87 and MMX registers out of the frame.
    pub(super) fn load_x87(&self) -> X87 {
        if self.in_use() & X87_BIT != 0 {
            X87::from_image(&self.load_bytes(0))
        } else {
            X87 {
                present: true,
                ..X87::INITIAL
            }
        }
    }

    /// Copies the x87 and MMX registers back.
    pub(super) fn store_x87(&mut self, x87: &X87) {
        let in_use = self.in_use();
        let mut image: [u8; X87::IMAGE] = self.load_bytes(0);
        if in_use & X87_BIT == 0 {
            // Its initial state is zero but for FCW; MXCSR is not a part of it.
            for (at, byte) in image.iter_mut().enumerate() {
                if !(FXSAVE_MXCSR..FXSAVE_ST).contains(&at) {
                    *byte = 0;
                }
            }
        }
        x87.to_image(&mut image);
        self.store_bytes(0, image);
        if self.size >= LEGACY_AND_HEADER {
            self.store_bytes(XSTATE_BV, (in_use | X87_BIT).to_le_bytes());
        }
    }

    /// Only MXCSR: what an unmasked floating-point exception leaves behind.
    pub(super) fn store_mxcsr(&mut self, mxcsr: u32) {
        self.store_bytes(FXSAVE_MXCSR, mxcsr.to_le_bytes());
    }

    /// XSTATE_BV: the components that are not in their initial state.
    fn in_use(&self) -> u64 {
        if self.size < LEGACY_AND_HEADER {
            return X87_BIT | SSE;
        }
        u64::from(self.load_u32(XSTATE_BV)) | u64::from(self.load_u32(XSTATE_BV + 4)) << 32
    }

    /// Where component `bit` of `len` bytes lies, if the frame holds it.
    fn component(&self, bit: u64, index: usize, len: usize) -> Option<usize> {
        let at = OFFSETS[index].load(Ordering::Relaxed) as usize;
        (self.components & bit != 0 && at >= LEGACY_AND_HEADER && at + len <= self.size)
            .then_some(at)
    }

    fn load_u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.load_bytes(at))
    }

    /// A copy of a size that the compiler knows, so that it calls no `memcpy`.
    fn load_bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        // SAFETY: every caller stays within the legacy area, the header, or a
        // component that `component` has checked against the image's size; an
        // array of bytes has no alignment.
        unsafe { self.image.add(at).cast::<[u8; N]>().read() }
    }

    fn store_bytes<const N: usize>(&mut self, at: usize, from: [u8; N]) {
        // SAFETY: as in `load_bytes`.
        unsafe { self.image.add(at).cast::<[u8; N]>().write(from) };
    }
}

/// Sets the 16 bytes number `quarter` of a register.
fn part(vector: &mut Vector, quarter: usize, from: [u8; 16]) {
    if let Some(to) = vector.0.as_chunks_mut().0.get_mut(quarter) {
        *to = from;
    }
}

/// The 16 bytes number `quarter` of a register.
fn quarter(vector: &Vector, quarter: usize) -> [u8; 16] {
    vector
        .0
        .as_chunks()
        .0
        .get(quarter)
        .copied()
        .unwrap_or([0; 16])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image in standard format with nothing but `0xAA` in its registers, and a context around it.
    struct Made {
        context: libc::ucontext_t,
        image: Box<Image>,
    }

    #[repr(C, align(64))]
    struct Image([u8; 16384]);

    const BYTE: u8 = 0xaa;

    impl Made {
        /// `None` on a CPU without YMM registers.
        fn new(in_use: u64) -> Option<Self> {
            if !has_ymm() {
                return None;
            }
            init();
            // SAFETY: plain data; all zero is a ucontext_t.
            let context = unsafe { core::mem::zeroed::<libc::ucontext_t>() };
            let mut image = Box::new(Image([BYTE; 16384]));
            let size = isa::cpuid(0xd, 0)[1];
            let mut put = |at: usize, bytes: &[u8]| {
                image.0[at..at + bytes.len()].copy_from_slice(bytes);
            };
            put(FXSAVE_MXCSR, &State::INITIAL_MXCSR.to_le_bytes());
            put(SOFTWARE, &MAGIC1.to_le_bytes());
            put(SOFTWARE + 8, &(X87_BIT | SSE | YMM).to_le_bytes());
            put(SOFTWARE + 16, &size.to_le_bytes());
            put(XSTATE_BV, &in_use.to_le_bytes());
            Some(Self { context, image })
        }

        fn frame(&mut self) -> Frame<'_> {
            self.context.uc_mcontext.fpregs = (&raw mut *self.image).cast();
            // SAFETY: what the kernel would have made, as far as it is looked at.
            unsafe { Frame::new(&mut self.context) }.unwrap()
        }

        fn loaded(&mut self) -> State {
            let mut state = State::default();
            self.frame().load(&mut state, None);
            state
        }

        fn in_use(&mut self) -> u64 {
            self.frame().in_use()
        }
    }

    #[test]
    fn a_component_in_its_initial_state_is_zero_whatever_its_bytes_say() {
        for (in_use, xmm, upper) in [
            (0, 0, 0),
            (SSE, BYTE, 0),
            (YMM, 0, BYTE),
            (SSE | YMM, BYTE, BYTE),
        ] {
            let Some(mut made) = Made::new(in_use) else {
                return;
            };
            let state = made.loaded();
            for vector in state.vector.iter().take(16) {
                assert_eq!(quarter(vector, 0), [xmm; 16], "{in_use:#x}");
                assert_eq!(quarter(vector, 1), [upper; 16], "{in_use:#x}");
                assert_eq!(quarter(vector, 2), [0; 16]);
            }
        }
    }

    #[test]
    fn what_is_written_is_marked_as_being_in_use() {
        let Some(mut made) = Made::new(0) else { return };
        let mut state = made.loaded();
        part(&mut state.vector[3], 0, [1; 16]);
        made.frame().store(&state, None);
        assert_eq!(
            made.in_use(),
            SSE,
            "upper halves that are zero stay as they were"
        );
        part(&mut state.vector[3], 1, [2; 16]);
        made.frame().store(&state, None);
        assert_eq!(made.in_use(), SSE | YMM);
        let again = made.loaded();
        assert_eq!(quarter(&again.vector[3], 0), [1; 16]);
        assert_eq!(quarter(&again.vector[3], 1), [2; 16]);
        assert_eq!(quarter(&again.vector[4], 0), [0; 16]);
        assert_eq!(quarter(&again.vector[4], 1), [0; 16]);
    }

    #[test]
    fn upper_halves_that_become_zero_do_not_keep_their_bytes() {
        let Some(mut made) = Made::new(SSE | YMM) else {
            return;
        };
        let mut state = made.loaded();
        for vector in state.vector.iter_mut().take(16) {
            part(vector, 1, [0; 16]);
        }
        made.frame().store(&state, None);
        let again = made.loaded();
        assert!(
            again
                .vector
                .iter()
                .take(16)
                .all(|it| quarter(it, 1) == [0; 16])
        );
        assert!(
            again
                .vector
                .iter()
                .take(16)
                .all(|it| quarter(it, 0) == [BYTE; 16])
        );
    }
}
