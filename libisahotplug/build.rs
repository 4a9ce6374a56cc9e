//! Gives the shared object its soname.

fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libisahotplug.so.0");
    println!("cargo::rerun-if-changed=build.rs");
}
