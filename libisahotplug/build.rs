//! Gives the shared object its soname.

fn main() {
    // Not `rustc-cdylib-link-arg`: cargo passes that on to the preload object as well. On the
    // test programs, which get this one too, a soname has no effect.
    println!("cargo::rustc-link-arg=-Wl,-soname,libisahotplug.so.0");
    println!("cargo::rerun-if-changed=build.rs");
}
