//! Where a program file executes CPUID.
//!
//! The two bytes of the instruction, 0F A2, also turn up in the middle of other
//! instructions and in data. Only where a function is known to begin can the
//! bytes after it be read as instructions; the unwind table `.eh_frame`, which
//! compilers write for every function and `strip` leaves, says where that is,
//! and symbols say it for assembler without an unwind table. So each pair of
//! bytes is decoded from the beginning of its function, and the whole function
//! has to decode: then it is CPUID, or lies inside another instruction. What
//! can be told neither way is kept as doubtful, and left alone.

use std::ops::Range;

use gimli::{BaseAddresses, CieOrFde, EhFrame, EndianSlice, LittleEndian, UnwindSection};
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, elf};

/// CPUID as a compiler writes it.
const CPUID: [u8; 2] = [0x0F, 0xA2];

/// The CPUID instructions of one ELF file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sites {
    /// Each of them, in rising order.
    pub instructions: Vec<Site>,
    /// Offsets in the file of bytes in executable sections that may be CPUID or
    /// may not.
    pub doubtful: Vec<u64>,
}

/// One CPUID instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// Its place in the file.
    pub offset: u64,
    /// Its length in bytes: more than 2 with prefixes.
    pub length: u8,
}

/// The file is no ELF file of x86-64 that can be read.
#[derive(Debug, thiserror::Error)]
#[error("no program of x86-64: {0}")]
pub struct Unreadable(#[from] object::read::Error);

impl Sites {
    /// Looks through the executable sections of an ELF file.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn of(file: &[u8]) -> Result<Self, Unreadable> {
        let elf = ElfFile64::<LittleEndianElf>::parse(file)?;
        let functions = functions(&elf);
        let mut sites = Self::default();
        for section in elf.sections().filter(is_executable) {
            let (Some((begin, _)), Ok(code)) = (section.file_range(), section.data()) else {
                continue;
            };
            for at in find(code) {
                let address = section.address() + at;
                let found = functions
                    .iter()
                    .filter(|function| function.contains(&address))
                    .map(|function| look(code, section.address(), function, address))
                    .reduce(Finding::or)
                    .unwrap_or(Finding::Unclear);
                match found {
                    Finding::Cpuid { address, length } => sites.instructions.push(Site {
                        offset: begin + (address - section.address()),
                        length,
                    }),
                    Finding::Something => {}
                    Finding::Unclear => sites.doubtful.push(begin + at),
                }
            }
        }
        sites.instructions.sort_unstable();
        sites.instructions.dedup();
        Ok(sites)
    }

    /// The instruction at this offset of the file.
    #[must_use]
    pub fn at(&self, offset: u64) -> Option<Site> {
        let found = self
            .instructions
            .binary_search_by_key(&offset, |s| s.offset);
        found.ok().map(|index| self.instructions[index])
    }
}

/// The instructions of the function at this address of an ELF file, to its end;
/// empty where no function is known.
///
/// # Errors
/// [`Unreadable`].
pub fn function_at(file: &[u8], address: u64) -> Result<Vec<Instruction>, Unreadable> {
    let elf = ElfFile64::<LittleEndianElf>::parse(file)?;
    let holds = |range: &Range<u64>| range.contains(&address);
    let function = functions(&elf).into_iter().find(holds);
    let section = elf.sections().filter(is_executable).find(|section| {
        let begin = section.address();
        holds(&(begin..begin + section.size()))
    });
    let Some((function, section)) = function.zip(section) else {
        return Ok(Vec::new());
    };
    let code = section.data()?;
    Ok(decode(code, section.address(), &function).collect())
}

type LittleEndianElf = object::LittleEndian;

fn is_executable<'a>(section: &impl ObjectSection<'a>) -> bool {
    let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
        return false;
    };
    sh_flags.contains(elf::SHF_EXECINSTR)
}

/// Where the pair of bytes is.
fn find(code: &[u8]) -> impl Iterator<Item = u64> {
    code.windows(CPUID.len())
        .zip(0..)
        .filter_map(|(bytes, at)| (bytes == CPUID).then_some(at))
}

/// The functions of a file, as ranges of addresses.
fn functions<'a>(elf: &ElfFile64<'a, LittleEndianElf>) -> Vec<Range<u64>> {
    let mut functions = unwound(elf);
    let symbols = elf.symbols().chain(elf.dynamic_symbols());
    let named = symbols
        .filter(|symbol| symbol.is_definition() && symbol.size() > 0)
        .filter(|symbol| symbol.kind() == object::SymbolKind::Text)
        .map(|symbol| symbol.address()..symbol.address() + symbol.size());
    functions.extend(named);
    functions
}

/// The functions that the unwind table describes.
fn unwound<'a>(elf: &ElfFile64<'a, LittleEndianElf>) -> Vec<Range<u64>> {
    let Some(section) = elf.section_by_name(".eh_frame") else {
        return Vec::new();
    };
    let Ok(data) = section.data() else {
        return Vec::new();
    };
    let table = EhFrame::from(EndianSlice::new(data, LittleEndian));
    let bases = BaseAddresses::default().set_eh_frame(section.address());
    let mut entries = table.entries(&bases);
    let mut functions = Vec::new();
    // A broken entry ends the table: what comes after it is then in doubt.
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else {
            continue;
        };
        let fde = partial.parse(|table, bases, offset| table.cie_from_offset(bases, offset));
        if let Ok(fde) = fde {
            functions.push(fde.initial_address()..fde.initial_address() + fde.len());
        }
    }
    functions
}

/// What a pair of bytes turned out to be.
#[derive(Debug, Clone, Copy)]
enum Finding {
    Cpuid {
        address: u64,
        length: u8,
    },
    /// Part of another instruction.
    Something,
    Unclear,
}

impl Finding {
    /// Of two functions that claim the bytes, both have to agree.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Something, Self::Something) => Self::Something,
            (
                Self::Cpuid { address, length },
                Self::Cpuid {
                    address: another, ..
                },
            ) if address == another => Self::Cpuid { address, length },
            _ => Self::Unclear,
        }
    }
}

/// Decodes a function to see what lies at `wanted`.
fn look(code: &[u8], code_address: u64, function: &Range<u64>, wanted: u64) -> Finding {
    let mut found = Finding::Unclear;
    let mut end = function.start;
    for instruction in decode(code, code_address, function) {
        if instruction.is_invalid() {
            return Finding::Unclear;
        }
        end = instruction.next_ip();
        if (instruction.ip()..end).contains(&wanted) {
            found = match (instruction.mnemonic(), u8::try_from(instruction.len())) {
                (Mnemonic::Cpuid, Ok(length)) => Finding::Cpuid {
                    address: instruction.ip(),
                    length,
                },
                _ => Finding::Something,
            };
        }
    }
    if end == function.end {
        found
    } else {
        Finding::Unclear
    }
}

/// The instructions of a function, from its beginning to its end; none if it
/// does not lie in `code`.
fn decode(
    code: &[u8],
    code_address: u64,
    function: &Range<u64>,
) -> impl Iterator<Item = Instruction> {
    let place = |address: u64| usize::try_from(address.checked_sub(code_address)?).ok();
    let bytes = place(function.start)
        .zip(place(function.end))
        .and_then(|(begin, end)| code.get(begin..end))
        .unwrap_or_default();
    let decoder = Decoder::with_ip(64, bytes, function.start, DecoderOptions::NONE);
    decoder.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An immediate that holds A2 0F, one that holds 0F A2, and CPUID itself.
    const CODE: [u8; 14] = [
        0xB8, 0xA2, 0x0F, 0x00, 0x00, // mov eax, 0xfa2
        0xB8, 0x00, 0x0F, 0xA2, 0x00, // mov eax, 0xa20f00
        0x0F, 0xA2, // cpuid
        0xF3, 0xC3, // rep ret
    ];

    fn seen(code: &[u8], function: Range<u64>) -> Vec<String> {
        let findings = find(code).map(|at| look(code, 0x1000, &function, 0x1000 + at));
        findings.map(|finding| format!("{finding:x?}")).collect()
    }

    #[test]
    fn bytes_inside_another_instruction_are_not_cpuid() {
        assert_eq!(
            seen(&CODE, 0x1000..0x100E),
            ["Something", "Cpuid { address: 100a, length: 2 }"]
        );
    }

    #[test]
    fn a_function_that_does_not_decode_is_left_alone() {
        let mut code = CODE;
        code[12] = 0x06; // no instruction of 64-bit mode
        assert_eq!(seen(&code, 0x1000..0x100E), ["Unclear", "Unclear"]);
        // The last instruction reaches beyond the end.
        assert_eq!(seen(&CODE, 0x1000..0x100D), ["Unclear", "Unclear"]);
    }

    #[test]
    fn two_functions_that_disagree_leave_doubt() {
        let first = look(&CODE, 0x1000, &(0x1000..0x100E), 0x1007);
        let second = look(&CODE, 0x1000, &(0x1007..0x1009), 0x1007);
        let claimed = matches!(
            second,
            Finding::Cpuid {
                address: 0x1007,
                ..
            }
        );
        assert!(claimed, "{second:?}");
        assert!(matches!(first.or(second), Finding::Unclear));
    }
}
