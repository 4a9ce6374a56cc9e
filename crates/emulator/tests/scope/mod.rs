//! Which of the instructions of every CPU are none for the emulator.

use crate::cases::general::is_general;
use iced_x86::{Code, Mnemonic};

/// Whether a code that every x86-64 CPU has is none for the emulator, on purpose.
pub(crate) fn ends_a_burst(code: Code) -> bool {
    use Mnemonic as M;
    let info = code.op_code();
    let system = !info.cpl3() || info.is_privileged();
    let operands = || (0..info.op_count()).map(|i| format!("{:?}", info.op_kind(i)));
    // Segments, control, debug and test registers, pointers with a segment, sixteen-bit branches,
    // string instructions.
    let odd = operands().any(|kind| {
        ["seg_", "cr_", "dr_", "tr_", "es_", "br16", "farbr"]
            .iter()
            .any(|start| kind.starts_with(start))
            || ["fs", "gs", "cs", "ds", "es", "ss", "dx"].contains(&kind.as_str())
    });
    is_general(code)
        && (system
            || odd
            || matches!(
                code,
                Code::Jmp_m1616
                    | Code::Jmp_m1632
                    | Code::Jmp_m1664
                    | Code::Call_m1616
                    | Code::Call_m1632
                    | Code::Call_m1664
                    | Code::Jmp_rm16
                    | Code::Call_rm16
                    | Code::Retnw
                    | Code::Retnw_imm16
                    | Code::Movsxd_r16_rm16
                    | Code::Bswap_r16
            )
            || matches!(
                code.mnemonic(),
                M::Pushf
                    | M::Pushfq
                    | M::Popf
                    | M::Popfq
                    | M::Cld
                    | M::Std
                    | M::Cli
                    | M::Sti
                    | M::Enter
                    | M::Retf
                    | M::Int
                    | M::Int1
                    | M::Int3
                    | M::Iret
                    | M::Iretd
                    | M::Iretq
                    | M::In
                    | M::Out
                    | M::Lss
                    | M::Lfs
                    | M::Lgs
                    | M::Lar
                    | M::Lsl
                    | M::Sldt
                    | M::Str
                    | M::Verr
                    | M::Verw
                    | M::Sgdt
                    | M::Sidt
                    | M::Smsw
                    | M::Cpuid
                    | M::Ud0
                    | M::Ud1
                    | M::Ud2
                    | M::Wait
                    | M::Reservednop
            ))
}
