//! Another static library in Rust: it brings its own std, unwinder's personality and all.

/// How many of `n` things there are; −1 if more than three, told by a panic.
#[unsafe(no_mangle)]
pub extern "C" fn other_count(n: i32) -> i32 {
    std::panic::set_hook(Box::new(|_| ()));
    std::panic::catch_unwind(|| {
        let things: Vec<i32> = (0..n).collect();
        assert!(things.len() <= 3);
        things.len() as i32
    })
    .unwrap_or(-1)
}
