//! 3DNow!, in double precision: exact for products of singles, and wide enough that rounding a sum
//! or difference twice is rounding it once.

use crate::lanes::{bytes, signed, unsigned};
use crate::{Input, Output};
use iced_x86::Mnemonic;

/// A number as 3DNow! has it: what would be a denormal is zero.
fn number(bits: u32) -> f64 {
    let x = f32::from_bits(bits);
    f64::from(if x.is_subnormal() {
        0.0f32.copysign(x)
    } else {
        x
    })
}

/// The nearest number within range: zero below the smallest, the largest above.
fn rounded(x: f64) -> u32 {
    let nearest = x as f32;
    // Rounded to 24 bits before it is found too small, so not yet among denormals.
    let scale = 2f64.powi(100);
    if x.abs() < 1.0 && f64::from((x * scale) as f32).abs() < 2f64.powi(-126) * scale {
        return 0.0f32.copysign(nearest).to_bits();
    }
    if nearest.is_infinite() {
        f32::MAX.copysign(nearest).to_bits()
    } else {
        nearest.to_bits()
    }
}

/// Equal magnitudes of different sign cancel to a zero with the first one's sign.
fn sum(a: f64, b: f64) -> u32 {
    if a == -b && a != 0.0 {
        rounded(0.0f64.copysign(a))
    } else {
        rounded(a + b)
    }
}

/// Zeros have no sign here.
fn chosen(x: f64) -> u32 {
    if x == 0.0 { 0 } else { rounded(x) }
}

fn mask(holds: bool) -> u32 {
    if holds { 0xffff_ffff } else { 0 }
}

/// A number without its fraction, and within `limit` bits.
fn whole(x: f64, limit: u32) -> u32 {
    let end = 2f64.powi(limit as i32 - 1);
    (x.trunc().max(-end).min(end - 1.0) as i32) as u32
}

/// An integer without the bits that a single has no room for.
fn truncated(x: i128) -> u32 {
    let mut cut = x.unsigned_abs();
    let mut places = 0;
    while cut >= 1 << 24 {
        cut >>= 1;
        places += 1;
    }
    let magnitude = (cut << places) as f32;
    (if x < 0 { -magnitude } else { magnitude }).to_bits()
}

pub(crate) fn reference(input: &Input) -> Output {
    use Mnemonic::{
        Pavgusb, Pf2id, Pf2iw, Pfacc, Pfadd, Pfcmpeq, Pfcmpge, Pfcmpgt, Pfmax, Pfmin, Pfmul,
        Pfnacc, Pfpnacc, Pfrcp, Pfrcpit1, Pfrcpit2, Pfrsqit1, Pfrsqrt, Pfsub, Pfsubr, Pi2fd, Pi2fw,
        Pmulhrw, Pswapd,
    };
    let (first, second) = (&input.operands[0], &input.operands[1]);
    match input.mnemonic {
        Pavgusb => {
            let pairs = unsigned(first, 1).into_iter().zip(unsigned(second, 1));
            let means: Vec<i128> = pairs.map(|(a, b)| (a + b + 1) / 2).collect();
            return bytes(&means, 1).into();
        }
        Pmulhrw => {
            let pairs = signed(first, 2).into_iter().zip(signed(second, 2));
            let products: Vec<i128> = pairs
                .map(|(a, b)| (a * b + 0x8000).div_euclid(0x1_0000))
                .collect();
            return bytes(&products, 2).into();
        }
        Pswapd => return [&second[4..], &second[..4]].concat().into(),
        Pi2fd => return singles([0, 1].map(|i| truncated(signed(second, 4)[i]))),
        Pi2fw => return singles([0, 2].map(|i| truncated(signed(second, 2)[i]))),
        _ => {}
    }
    let bits = |bytes: &[u8]| unsigned(bytes, 4).into_iter().map(|x| x as u32);
    // Those of one source have the other as their destination only.
    let one_source = matches!(input.mnemonic, Pf2id | Pf2iw | Pfrcp | Pfrsqrt);
    let mut sources: Vec<u32> = bits(second).collect();
    if matches!(input.mnemonic, Pfrcp | Pfrsqrt) {
        sources.truncate(1);
    }
    if !one_source {
        sources.extend(bits(first));
    }
    if sources.iter().any(|x| x & 0x7f80_0000 == 0x7f80_0000) {
        return Output {
            destination: vec![0; 8],
            undefined: true,
            ..Output::default()
        };
    }
    let numbers = |bytes: &[u8]| bits(bytes).map(number).collect::<Vec<f64>>();
    let (a, b) = (numbers(first), numbers(second));
    let each = |f: fn(f64, f64) -> u32| singles([f(a[0], b[0]), f(a[1], b[1])]);
    let near = |tolerance: f64, output: Output| Output {
        tolerance,
        ..output
    };
    match input.mnemonic {
        Pfadd => each(sum),
        Pfsub => each(|a, b| sum(a, -b)),
        Pfsubr => each(|a, b| sum(b, -a)),
        Pfmul | Pfrcpit2 => each(|a, b| rounded(a * b)),
        Pfacc => singles([sum(a[0], a[1]), sum(b[0], b[1])]),
        Pfnacc => singles([sum(a[0], -a[1]), sum(b[0], -b[1])]),
        Pfpnacc => singles([sum(a[0], -a[1]), sum(b[0], b[1])]),
        Pfmin => each(|a, b| chosen(if b < a { b } else { a })),
        Pfmax => each(|a, b| chosen(if b > a { b } else { a })),
        Pfcmpeq => each(|a, b| mask(a == b)),
        Pfcmpge => each(|a, b| mask(a >= b)),
        Pfcmpgt => each(|a, b| mask(a > b)),
        Pf2id => singles([whole(b[0], 32), whole(b[1], 32)]),
        Pf2iw => singles([whole(b[0], 16), whole(b[1], 16)]),
        Pfrcp => near(2f64.powi(-14), singles([rounded(1.0 / b[0]); 2])),
        Pfrsqrt => {
            let root = (1.0 / b[0].abs().sqrt()).copysign(b[0]);
            near(2f64.powi(-15), singles([rounded(root); 2]))
        }
        // What these are for is that the whole sequence is right: see below.
        Pfrcpit1 => near(2f64.powi(-23), each(|a, b| rounded(2.0 - a * b))),
        Pfrsqit1 => Output {
            // A guess is never so wrong that this overflows before it is halved.
            undefined: (0..2).any(|i| (a[i] * b[i]).abs() > f64::from(f32::MAX)),
            ..near(2f64.powi(-23), each(|a, b| rounded((3.0 - a * b) / 2.0)))
        },
        other => panic!("{other:?} is not of 3DNow!"),
    }
}

fn singles(lanes: [u32; 2]) -> Output {
    lanes.map(u32::to_le_bytes).concat().into()
}

mod sequences {
    //! The sequences that the manual gives for full precision.

    use crate::cases::random::Random;
    use emulator::{CodeOnly, EMULATED, State};

    /// Executes a 3DNow! instruction on two registers: 0F 0F, ModRM, opcode.
    fn execute(state: &mut State, to: u8, from: u8, opcode: u8) {
        let code = [0x0f, 0x0f, 0xc0 | to << 3 | from, opcode];
        let mut memory = CodeOnly {
            address: state.rip,
            code: &code,
        };
        emulator::step(state, &mut memory, EMULATED).expect("completes");
    }

    const PFRCP: u8 = 0x96;
    const PFRSQRT: u8 = 0x97;
    const PFMUL: u8 = 0xb4;
    const PFRCPIT1: u8 = 0xa6;
    const PFRSQIT1: u8 = 0xa7;
    const PFRCPIT2: u8 = 0xb6;

    /// Whether the two singles are at most one unit in the last place apart.
    fn close(bits: u64, wanted: f32) -> bool {
        (bits as u32).abs_diff(wanted.to_bits()) <= 1
    }

    #[test]
    fn reciprocals_have_24_bits() {
        emulator::init();
        let mut random = Random(3);
        for _ in 0..2000 {
            let x = f32::from_bits(0x2000_0000 + random.below(0x3e80_0000) as u32);
            let mut state = State::default();
            state.x87.present = true;
            state.x87.significand[0] = x.to_bits().into();
            execute(&mut state, 1, 0, PFRCP);
            state.x87.significand[2] = state.x87.significand[0];
            execute(&mut state, 2, 1, PFRCPIT1);
            // Both halves of MM1 are the guess; only the low one of MM2 is looked at.
            execute(&mut state, 2, 1, PFRCPIT2);
            let wanted = (1.0 / f64::from(x)) as f32;
            assert!(close(state.x87.significand[2], wanted), "1 / {x}");

            execute(&mut state, 1, 0, PFRSQRT);
            state.x87.significand[2] = state.x87.significand[1];
            execute(&mut state, 2, 2, PFMUL);
            execute(&mut state, 2, 0, PFRSQIT1);
            execute(&mut state, 2, 1, PFRCPIT2);
            let wanted = (1.0 / f64::from(x).sqrt()) as f32;
            assert!(close(state.x87.significand[2], wanted), "1 / sqrt({x})");
        }
    }

    #[test]
    fn femms_empties_the_stack() {
        emulator::init();
        let mut state = State::default();
        state.x87.present = true;
        (state.x87.tags, state.x87.status) = (0xff, 0x3801);
        let mut memory = CodeOnly {
            address: 0,
            code: &[0x0f, 0x0e],
        };
        emulator::step(&mut state, &mut memory, EMULATED).expect("completes");
        assert_eq!((state.x87.tags, state.x87.status), (0, 1));
    }
}
