//! The memory functions that the trap handler may call.
//!
//! The compiler turns copies into calls of `memcpy` and its kin. In glibc these
//! are IFUNCs bound at start to AVX2 or EVEX variants: the very instructions
//! whose loss the handler is there for, and a second #UD inside the handler
//! kills the process. So this object brings its own, for the baseline, and
//! hides them: in the shared object they bind every reference within it and
//! nothing outside it. A test disassembles the linked object to see that none is
//! left. (In a Rust program, or linked from the archive that cargo alone makes,
//! they serve the whole executable, which they slow down: they are short, not
//! fast. `cargo xtask dist` makes them local to the archive.)
//!
//! They must be assembler. Written in Rust, the compiler would recognise the
//! loops and call the functions they are to replace; and `#[no_mangle]` would
//! export them and interpose on the whole program.

core::arch::global_asm!(
    ".pushsection .text.isahp_freestanding,\"ax\",@progbits",
    ".macro isahp_hidden name",
    ".globl \\name",
    ".hidden \\name",
    ".type \\name, @function",
    ".endm",
    // void *memcpy(void *to, const void *from, size_t n)
    "isahp_hidden memcpy",
    "memcpy:",
    "    mov rax, rdi",
    "    mov rcx, rdx",
    "    rep movsb",
    "    ret",
    ".size memcpy, . - memcpy",
    // void *memmove(void *to, const void *from, size_t n)
    "isahp_hidden memmove",
    "memmove:",
    "    mov rax, rdi",
    "    mov rcx, rdx",
    "    mov r8, rdi",
    "    sub r8, rsi",
    "    cmp r8, rdx",
    "    jb 2f", // `to` lies within the source: from the end
    "    rep movsb",
    "    ret",
    "2:  lea rdi, [rdi + rdx - 1]",
    "    lea rsi, [rsi + rdx - 1]",
    "    std",
    "    rep movsb",
    "    cld",
    "    ret",
    ".size memmove, . - memmove",
    // void *memset(void *to, int byte, size_t n)
    "isahp_hidden memset",
    "memset:",
    "    mov r8, rdi",
    "    mov eax, esi",
    "    mov rcx, rdx",
    "    rep stosb",
    "    mov rax, r8",
    "    ret",
    ".size memset, . - memset",
    // int memcmp(const void *a, const void *b, size_t n); bcmp is the same
    "isahp_hidden memcmp",
    "isahp_hidden bcmp",
    "memcmp:",
    "bcmp:",
    "    xor ecx, ecx",
    "    sub rdx, 8",
    "    jb 5f",
    "4:  mov rax, [rdi + rcx]", // eight bytes at a time as long as they are equal
    "    cmp rax, [rsi + rcx]",
    "    jne 5f",
    "    add rcx, 8",
    "    cmp rcx, rdx",
    "    jbe 4b",
    "5:  add rdx, 8",
    "2:  cmp rcx, rdx",
    "    je 3f",
    "    movzx eax, byte ptr [rdi + rcx]",
    "    movzx r8d, byte ptr [rsi + rcx]",
    "    inc rcx",
    "    sub eax, r8d",
    "    je 2b",
    "    ret",
    "3:  xor eax, eax",
    "    ret",
    ".size memcmp, . - memcmp",
    // size_t strlen(const char *text)
    "isahp_hidden strlen",
    "strlen:",
    "    xor eax, eax",
    "2:  cmp byte ptr [rdi + rax], 0",
    "    je 3f",
    "    inc rax",
    "    jmp 2b",
    "3:  ret",
    ".size strlen, . - strlen",
    ".purgem isahp_hidden",
    ".popsection",
);

#[cfg(test)]
mod tests {
    use std::ffi::{c_char, c_int, c_void};

    // SAFETY: the C standard's declarations; in this object they bind to the
    // definitions above.
    unsafe extern "C" {
        fn memcpy(to: *mut c_void, from: *const c_void, n: usize) -> *mut c_void;
        fn memmove(to: *mut c_void, from: *const c_void, n: usize) -> *mut c_void;
        fn memset(to: *mut c_void, byte: c_int, n: usize) -> *mut c_void;
        fn memcmp(a: *const c_void, b: *const c_void, n: usize) -> c_int;
        fn strlen(text: *const c_char) -> usize;
    }

    #[test]
    fn they_do_what_the_c_standard_says() {
        let numbers: Vec<u8> = (0..=255).collect();
        for n in [0usize, 1, 7, 8, 100, 200] {
            let mut to = vec![0u8; 256];
            let address = to.as_mut_ptr();
            // SAFETY: both buffers hold 256 bytes and n is at most 200.
            let returned = unsafe { memcpy(address.cast(), numbers.as_ptr().cast(), n) };
            assert_eq!(returned, address.cast());
            assert_eq!(to[..n], numbers[..n]);
            assert!(to[n..].iter().all(|&b| b == 0));
            for shift in [0usize, 1, 8, 50] {
                for forward in [true, false] {
                    let (source, target) = if forward { (0, shift) } else { (shift, 0) };
                    let mut buffer = numbers.clone();
                    let start = buffer.as_mut_ptr();
                    // SAFETY: n + shift is at most 250.
                    unsafe { memmove(start.add(target).cast(), start.add(source).cast(), n) };
                    assert_eq!(buffer[target..target + n], numbers[source..source + n]);
                }
            }
            // SAFETY: the buffer holds 256 bytes.
            unsafe { memset(address.cast(), 0x1ab, n) };
            assert!(to[..n].iter().all(|&b| b == 0xab) && to[n..].iter().all(|&b| b == 0));
        }
        // SAFETY: at most as many bytes are compared as the shorter text has.
        unsafe {
            let (a, mut b) = (numbers.as_ptr().cast(), numbers.clone());
            for n in 0..40 {
                for at in 0..40 {
                    b[at] ^= 0x80;
                    let result = memcmp(a, b.as_ptr().cast(), n);
                    assert_eq!(result.signum(), if at < n { -1 } else { 0 }, "{n} {at}");
                    b[at] ^= 0x80;
                }
            }
            assert_eq!(memcmp(c"abc".as_ptr().cast(), c"abd".as_ptr().cast(), 2), 0);
            assert!(memcmp(c"abc".as_ptr().cast(), c"abd".as_ptr().cast(), 3) < 0);
            assert!(memcmp(c"\xff".as_ptr().cast(), c"a".as_ptr().cast(), 1) > 0);
            assert_eq!((strlen(c"".as_ptr()), strlen(c"four".as_ptr())), (0, 4));
        }
    }
}
