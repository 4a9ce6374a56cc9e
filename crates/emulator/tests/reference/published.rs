//! Results that standards publish, computed with the instructions as programs use them.

use emulator::{CodeOnly, EMULATED, State, Vector};
use iced_x86::{Code, Encoder, Instruction, Register};

/// Executes one instruction on `state`.
fn execute(state: &mut State, instruction: &Instruction) {
    emulator::init();
    let mut encoder = Encoder::new(64);
    encoder.encode(instruction, 0).expect("encodes");
    let code = encoder.take_buffer();
    state.rip = 0;
    let mut memory = CodeOnly {
        address: 0,
        code: &code,
    };
    emulator::step(state, &mut memory, EMULATED).expect("completes");
}

/// The instruction on registers with these numbers, all of one size but the last `narrow`.
fn on(code: Code, first: Register, numbers: &[u32], narrow: usize) -> Instruction {
    let mut instruction = Instruction::default();
    instruction.set_code(code);
    for (i, &number) in numbers.iter().enumerate() {
        let first = if i + narrow >= numbers.len() {
            Register::XMM0
        } else {
            first
        };
        instruction.set_op_register(i as u32, first + number);
    }
    instruction
}

fn quadwords(lanes: [u64; 4]) -> Vector {
    let mut v = Vector::ZERO;
    (0..4).for_each(|i| v.set_lane(i, lanes[i]));
    v
}

fn doublewords(lanes: [u32; 4]) -> Vector {
    let mut v = Vector::ZERO;
    (0..4).for_each(|i| v.set_lane(i, lanes[i]));
    v
}

/// `bits` bits of the fractional part of the square or cube root of `n` (FIPS 180-4, 4.2.3).
fn fraction_of_root(n: u32, cube: bool) -> u64 {
    // The largest x with x^power <= n * 2^(64 * power), bit by bit, in 64-bit limbs.
    let power = if cube { 3 } else { 2 };
    let mut x = 0u128;
    for bit in (0..70).rev() {
        let candidate = x | 1 << bit;
        if power_at_most(candidate, power, n) {
            x = candidate;
        }
    }
    x as u64
}

/// Whether `x^power <= n * 2^(64 * power)`.
fn power_at_most(x: u128, power: usize, n: u32) -> bool {
    let digits = |mut x: u128| {
        let mut digits = vec![];
        while x > 0 {
            digits.push(x as u32);
            x >>= 32;
        }
        digits
    };
    let multiply = |a: &[u32], b: &[u32]| {
        let mut product = vec![0u32; a.len() + b.len() + 1];
        for (i, &x) in a.iter().enumerate() {
            let mut carry = 0u64;
            for (j, place) in product[i..].iter_mut().enumerate() {
                let y = b.get(j).copied().unwrap_or(0);
                carry += u64::from(*place) + u64::from(x) * u64::from(y);
                *place = carry as u32;
                carry >>= 32;
            }
        }
        product
    };
    let x = digits(x);
    let mut product = vec![1];
    for _ in 0..power {
        product = multiply(&product, &x);
    }
    let mut limit = vec![0; 2 * power];
    limit.push(n);
    let length = product.len().max(limit.len());
    product.resize(length, 0);
    limit.resize(length, 0);
    product.iter().rev().le(limit.iter().rev())
}

fn primes() -> impl Iterator<Item = u32> {
    (2u32..).filter(|n| (2..*n).all(|d| n % d != 0))
}

#[test]
fn sha512_of_abc() {
    let k: Vec<u64> = primes()
        .take(80)
        .map(|p| fraction_of_root(p, true))
        .collect();
    assert_eq!(
        (k[0], k[79]),
        (0x428a_2f98_d728_ae22, 0x6c44_198c_4a47_5817)
    );
    let h: Vec<u64> = primes()
        .take(8)
        .map(|p| fraction_of_root(p, false))
        .collect();
    let mut block = [0u8; 128];
    block[..4].copy_from_slice(b"abc\x80");
    block[127] = 24;
    let mut w: Vec<u64> = block
        .chunks(8)
        .map(|b| u64::from_be_bytes(b.try_into().expect("eight bytes")))
        .collect();
    let mut state = State::default();
    // VSHA512MSG1 ymm0, xmm1; plus W[t-7]; VSHA512MSG2 ymm0, ymm2.
    for t in (16..80).step_by(4) {
        let four = |at: usize| quadwords([w[at], w[at + 1], w[at + 2], w[at + 3]]);
        state.vector[0] = four(t - 16);
        state.vector[1] = four(t - 12);
        state.vector[2] = four(t - 4);
        execute(
            &mut state,
            &on(Code::VEX_Vsha512msg1_ymm_xmm, Register::YMM0, &[0, 1], 1),
        );
        for i in 0..4 {
            let sum = state.vector[0].lane::<u64>(i).wrapping_add(w[t - 7 + i]);
            state.vector[0].set_lane(i, sum);
        }
        execute(
            &mut state,
            &on(Code::VEX_Vsha512msg2_ymm_ymm, Register::YMM0, &[0, 2], 0),
        );
        (0..4).for_each(|i| w.push(state.vector[0].lane(i)));
    }
    // ABEF in ymm3, CDGH in ymm4; the names change places after every two rounds.
    let mut abef = quadwords([h[5], h[4], h[1], h[0]]);
    let mut cdgh = quadwords([h[7], h[6], h[3], h[2]]);
    for t in (0..80).step_by(2) {
        let wk = [
            w[t].wrapping_add(k[t]),
            w[t + 1].wrapping_add(k[t + 1]),
            0,
            0,
        ];
        state.vector[3] = abef;
        state.vector[4] = cdgh;
        state.vector[5] = quadwords(wk);
        let rounds = on(
            Code::VEX_Vsha512rnds2_ymm_ymm_xmm,
            Register::YMM0,
            &[4, 3, 5],
            1,
        );
        execute(&mut state, &rounds);
        (cdgh, abef) = (abef, state.vector[4]);
    }
    let last = [
        (&abef, 3),
        (&abef, 2),
        (&cdgh, 3),
        (&cdgh, 2),
        (&abef, 1),
        (&abef, 0),
        (&cdgh, 1),
        (&cdgh, 0),
    ];
    let digest: String = last
        .into_iter()
        .zip(&h)
        .map(|((v, i), h)| format!("{:016x}", v.lane::<u64>(i).wrapping_add(*h)))
        .collect();
    // FIPS 180-4, and RFC 6234, 8.5.
    assert_eq!(
        digest,
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
         2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
    );
}

#[test]
fn sm3_of_abc() {
    let h: [u32; 8] = [
        0x7380_166f,
        0x4914_b2b9,
        0x1724_42d7,
        0xda8a_0600,
        0xa96f_30bc,
        0x1631_38aa,
        0xe38d_ee4d,
        0xb0fb_0e4e,
    ];
    let mut block = [0u8; 64];
    block[..4].copy_from_slice(b"abc\x80");
    block[63] = 24;
    let mut w: Vec<u32> = block
        .chunks(4)
        .map(|b| u32::from_be_bytes(b.try_into().expect("four bytes")))
        .collect();
    let mut state = State::default();
    let xmm = |code, numbers: &[u32]| on(code, Register::XMM0, numbers, 0);
    for t in (16..68).step_by(4) {
        let four =
            |at: usize| doublewords([0, 1, 2, 3].map(|i| w.get(at + i).copied().unwrap_or(0)));
        state.vector[0] = four(t - 9);
        state.vector[1] = four(t - 3);
        state.vector[2] = four(t - 16);
        state.vector[3] = four(t - 13);
        state.vector[4] = four(t - 6);
        execute(
            &mut state,
            &xmm(Code::VEX_Vsm3msg1_xmm_xmm_xmmm128, &[0, 1, 2]),
        );
        execute(
            &mut state,
            &xmm(Code::VEX_Vsm3msg2_xmm_xmm_xmmm128, &[0, 3, 4]),
        );
        (0..4).for_each(|i| w.push(state.vector[0].lane(i)));
    }
    // C, D, G and H are kept as they were before their rotation.
    let mut abef = doublewords([h[5], h[4], h[1], h[0]]);
    let mut cdgh = doublewords([
        h[7].rotate_right(19),
        h[6].rotate_right(19),
        h[3].rotate_right(9),
        h[2].rotate_right(9),
    ]);
    for t in (0..64).step_by(2) {
        state.vector[0] = cdgh;
        state.vector[1] = abef;
        state.vector[2] = doublewords([w[t], w[t + 1], w[t + 4], w[t + 5]]);
        let mut rounds = xmm(Code::VEX_Vsm3rnds2_xmm_xmm_xmmm128_imm8, &[0, 1, 2]);
        rounds.set_op_kind(3, iced_x86::OpKind::Immediate8);
        rounds.set_immediate8(t as u8);
        execute(&mut state, &rounds);
        (cdgh, abef) = (abef, state.vector[0]);
    }
    let lane = |v: &Vector, i, rotation| v.lane::<u32>(i).rotate_left(rotation);
    let last = [
        lane(&abef, 3, 0),
        lane(&abef, 2, 0),
        lane(&cdgh, 3, 9),
        lane(&cdgh, 2, 9),
        lane(&abef, 1, 0),
        lane(&abef, 0, 0),
        lane(&cdgh, 1, 19),
        lane(&cdgh, 0, 19),
    ];
    let digest: String = last
        .iter()
        .zip(h)
        .map(|(a, b)| format!("{:08x}", a ^ b))
        .collect();
    // GB/T 32905-2016, A.1.
    assert_eq!(
        digest,
        "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
    );
}

#[test]
fn sm4_of_the_standard() {
    let words = |hex: u128| {
        let bytes = hex.to_be_bytes();
        [0, 4, 8, 12]
            .map(|i| u32::from_be_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]))
    };
    // The plain text and the key are the same (GB/T 32907-2016, A.1).
    let text = words(0x0123_4567_89ab_cdef_fedc_ba98_7654_3210);
    let system = words(0xa3b1_bac6_56aa_3350_677d_9197_b270_22dc);
    let mut state = State::default();
    state.vector[0] = doublewords([0, 1, 2, 3].map(|i| text[i] ^ system[i]));
    state.vector[1] = doublewords(text);
    for round in 0..8u32 {
        // Byte j of constant i is (4i + j) * 7.
        let constant = |i: u32| (0..4).fold(0, |ck, j| (ck << 8) | (((4 * i + j) * 7) % 256));
        state.vector[2] = doublewords([0, 1, 2, 3].map(|i| constant(4 * round + i)));
        let xmm = |code, numbers: &[u32]| on(code, Register::XMM0, numbers, 0);
        execute(
            &mut state,
            &xmm(Code::VEX_Vsm4key4_xmm_xmm_xmmm128, &[0, 0, 2]),
        );
        execute(
            &mut state,
            &xmm(Code::VEX_Vsm4rnds4_xmm_xmm_xmmm128, &[1, 1, 0]),
        );
    }
    let cipher: String = (0..4)
        .rev()
        .map(|i| format!("{:08x}", state.vector[1].lane::<u32>(i)))
        .collect();
    assert_eq!(cipher, "681edf34d206965e86b3e94f536e4246");
}
