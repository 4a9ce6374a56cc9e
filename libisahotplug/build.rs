//! Gives the shared object its soname, and keeps it where it is once loaded.

fn main() {
    // Not `rustc-cdylib-link-arg`: cargo passes that on to the preload object as well. On the
    // test programs, which get this one too, a soname has no effect. cargo-c gives the same one.
    println!("cargo::rustc-link-arg=-Wl,-soname,libisahotplug.so.1");
    // The kernel knows the address of the trap handler, and a thread may be about to enter it.
    println!("cargo::rustc-link-arg=-Wl,-z,nodelete");
    println!("cargo::rerun-if-changed=build.rs");
    // What cargo-c links with.
    println!("cargo::rerun-if-changed=versioned-cc");
    println!("cargo::rerun-if-changed=isahotplug.map");
}
