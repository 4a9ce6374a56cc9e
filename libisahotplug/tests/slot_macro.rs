//! `slot!`: what its slots hold before, while and after the library is in use.

use isahotplug::{Error, Options};

fn plus_any(a: i32, b: i32) -> i32 {
    a + b
}

#[target_feature(enable = "sse3")]
fn plus_sse3(a: i32, b: i32) -> i32 {
    100 + a + b
}

/// No CPU has SM4, which is Intel's, and SSE4A, which is AMD's.
#[target_feature(enable = "sm4,sse4a")]
fn plus_impossible(a: i32, b: i32) -> i32 {
    1000 + a + b
}

/// What needs less than is listed.
fn first_plain(words: &[String]) -> &str {
    words.first().map_or("", |word| word)
}

fn first_marked(words: &[String]) -> &str {
    if words.is_empty() { "none" } else { "some" }
}

fn add_one(value: &mut i32) {
    *value += 1;
}

fn add_ten(value: &mut i32) {
    *value += 10;
}

mod inner {
    isahotplug::slot! {
        /// From another module, and seen from there.
        pub(crate) static PLUS: fn(a: i32, b: i32) -> i32 = {
            "sm4,sse4a" => super::plus_impossible,
            "sse3" => super::plus_sse3,
            _ => super::plus_any,
        };

        pub(crate) static FIRST: fn(words: &[String]) -> &str = {
            "sse3" => super::first_marked,
            _ => super::first_plain
        };

        static ADD: fn(value: &mut i32) = { "sse3,ssse3" => super::add_ten, _ => super::add_one, };
    }

    pub(crate) fn add(value: &mut i32) {
        ADD.get()(value);
    }
}

isahotplug::slot! {
    static ZEROS: sectioned fn(value: u32) -> u32 = {
        "lzcnt" => zeros_lzcnt,
        _ => zeros_any,
    };
}

fn zeros_any(value: u32) -> u32 {
    value.leading_zeros()
}

#[target_feature(enable = "lzcnt")]
fn zeros_lzcnt(value: u32) -> u32 {
    1000 + value.leading_zeros()
}

/// In a function.
fn local(value: i32) -> i32 {
    isahotplug::slot! {
        static LOCAL: fn(a: i32, b: i32) -> i32 = { "sse3" => plus_sse3, _ => plus_any };
    }
    LOCAL.get()(value, 0)
}

fn found() -> (i32, String, i32, i32) {
    let mut value = 0;
    inner::add(&mut value);
    let words = ["x".to_owned()];
    let first = inner::FIRST.get()(&words).to_owned();
    (inner::PLUS.get()(1, 2), first, value, local(0))
}

/// One test: the library is the process's.
#[test]
fn a_declared_slot_holds_the_last_variant_until_and_after_the_library_is_in_use() {
    let plain = (3, "x".to_owned(), 1, 0);
    let best = (103, "some".to_owned(), 10, 100);
    assert_eq!(found(), plain);
    assert_eq!(ZEROS.call(|zeros| zeros(0x400)), 21);
    for _ in 0..2 {
        isahotplug::init(Options {
            poll: true,
            ..Options::default()
        })
        .unwrap();
        assert_eq!(found(), best);
        let lzcnt = isahotplug::has(isahotplug::Feature::Abm);
        let expected = if lzcnt { 1021 } else { 21 };
        assert_eq!(ZEROS.call(|zeros| zeros(0x400)), expected);
        assert_eq!(ZEROS.index(), usize::from(!lzcnt));

        inner::PLUS.force(Some("super::plus_any")).unwrap();
        assert_eq!((inner::PLUS.index(), inner::PLUS.get()(1, 2)), (2, 3));
        let refused = inner::PLUS.force(Some("super::plus_impossible"));
        assert!(matches!(refused, Err(Error::NoVariant)), "{refused:?}");
        let refused = inner::PLUS.force(Some("nobody"));
        assert!(matches!(refused, Err(Error::NotFound(_))), "{refused:?}");
        assert_eq!(inner::PLUS.index(), 2);
        inner::PLUS.force(None).unwrap();
        assert_eq!(found(), best);

        isahotplug::unload().unwrap();
        assert_eq!(found(), plain);
    }
    inner::FIRST.release().unwrap();
    let again = inner::FIRST.release();
    assert!(
        matches!(again, Err(Error::NotFound(_) | Error::NotInitialised)),
        "{again:?}"
    );
    isahotplug::init(Options {
        poll: true,
        ..Options::default()
    })
    .unwrap();
    assert_eq!(inner::FIRST.get()(&["x".to_owned()]), "x");
}
