//! What instructions do to registers and memory, against the processor.

use super::*;
use std::collections::BTreeSet;
use std::process::Command;

/// Memory of 16 bytes, and how it was touched.
#[derive(Clone, Default)]
struct Bytes16 {
    bytes: [u8; 16],
    accesses: Vec<(bool, u64, u8)>,
}

impl Memory for Bytes16 {
    fn read(&mut self, offset: u64, size: u8) -> u64 {
        self.accesses.push((false, offset, size));
        let mut word = [0; 8];
        let at = offset as usize;
        word[..usize::from(size)].copy_from_slice(&self.bytes[at..at + usize::from(size)]);
        u64::from_le_bytes(word)
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        self.accesses.push((true, offset, size));
        let at = offset as usize;
        self.bytes[at..at + usize::from(size)].copy_from_slice(&value.to_le_bytes()[..usize::from(size)]);
    }
}

fn cpu() -> Cpu {
    // With a carry.
    let mut cpu = Cpu { rip: 0x1000, flags: 0x203, ..Cpu::default() };
    for i in 0..16 {
        cpu.general[i] = 0x0123_4567_89ab_cdef_u64.rotate_left(4 * i as u32);
        cpu.vector[i] = 0x0f1e_2d3c_4b5a_6978_8796_a5b4_c3d2_e1f0_u128.rotate_left(4 * i as u32);
    }
    cpu
}

fn memory() -> Bytes16 {
    Bytes16 { bytes: std::array::from_fn(|i| 0x80 + 7 * i as u8), ..Bytes16::default() }
}

/// Runs `code`, and returns what it left.
fn run(code: &[u8]) -> (Cpu, Bytes16) {
    let (mut cpu, mut memory) = (cpu(), memory());
    let instruction = decode(code).unwrap();
    assert_eq!(usize::from(instruction.len), code.len());
    instruction.run(&mut cpu, &mut memory);
    assert_eq!(cpu.rip, 0x1000 + code.len() as u64);
    (cpu, memory)
}

#[test]
fn loads_fill_what_they_name_and_clear_what_the_manual_says() {
    let before = cpu();
    // mov eax, [rdi]: the upper half becomes zero.
    assert_eq!(run(&[0x8b, 0x07]).0.general[0], 0x958e_8780);
    // mov ax, [rdi]; mov al, [rdi]; mov ah, [rdi]: the rest stays.
    assert_eq!(run(&[0x66, 0x8b, 0x07]).0.general[0], before.general[0] & !0xffff | 0x8780);
    assert_eq!(run(&[0x8a, 0x07]).0.general[0], before.general[0] & !0xff | 0x80);
    assert_eq!(run(&[0x8a, 0x27]).0.general[0], before.general[0] & !0xff00 | 0x8000);
    // mov spl, [rdi]: with REX there is no ah.
    assert_eq!(run(&[0x40, 0x8a, 0x27]).0.general[4], before.general[4] & !0xff | 0x80);
    // movzx eax, byte [rdi]; movsx rax, byte [rdi]; movsxd rax, dword [rdi].
    assert_eq!(run(&[0x0f, 0xb6, 0x07]).0.general[0], 0x80);
    assert_eq!(run(&[0x48, 0x0f, 0xbe, 0x07]).0.general[0], !0x7f);
    assert_eq!(run(&[0x48, 0x63, 0x07]).0.general[0], 0xffff_ffff_958e_8780);
    // movbe eax, [rdi].
    assert_eq!(run(&[0x0f, 0x38, 0xf0, 0x07]).0.general[0], 0x8087_8e95);
    // mov r9, [rdi].
    assert_eq!(run(&[0x4c, 0x8b, 0x0f]).0.general[9], 0xb1aa_a39c_958e_8780);
    // movd xmm1, [rdi]: the rest becomes zero. pinsrd xmm1, [rdi], 2: it stays.
    assert_eq!(run(&[0x66, 0x0f, 0x6e, 0x0f]).0.vector[1], 0x958e_8780);
    let lane = run(&[0x66, 0x0f, 0x3a, 0x22, 0x0f, 0x02]).0.vector[1];
    assert_eq!(lane, before.vector[1] & !(0xffff_ffff << 64) | 0x958e_8780 << 64);
    // movhps xmm1, [rdi].
    assert_eq!(run(&[0x0f, 0x16, 0x0f]).0.vector[1] >> 64, 0xb1aa_a39c_958e_8780);
}

#[test]
fn stores_write_as_many_bytes_as_they_name() {
    let before = cpu();
    // mov [rdi], ecx; mov [rdi], ch; mov [rdi], r9w.
    let (after, memory) = run(&[0x89, 0x0f]);
    assert_eq!(
        (memory.bytes[..4].to_vec(), memory.accesses),
        (before.general[1].to_le_bytes()[..4].to_vec(), vec![(true, 0, 4)])
    );
    assert_eq!(after.general, before.general);
    assert_eq!(run(&[0x88, 0x2f]).1.bytes[0], (before.general[1] >> 8) as u8);
    assert_eq!(run(&[0x66, 0x44, 0x89, 0x0f]).1.accesses, [(true, 0, 2)]);
    // mov qword [rdi], -2: the constant is sign-extended.
    assert_eq!(run(&[0x48, 0xc7, 0x07, 0xfe, 0xff, 0xff, 0xff]).1.bytes[..8], (-2_i64).to_le_bytes());
    assert_eq!(run(&[0xc6, 0x07, 0x12]).1.bytes[..2], [0x12, 0x87]);
    // movdqu [rdi], xmm3: four words, upwards.
    let (_, memory) = run(&[0xf3, 0x0f, 0x7f, 0x1f]);
    assert_eq!(memory.bytes, before.vector[3].to_le_bytes());
    assert_eq!(memory.accesses, [(true, 0, 4), (true, 4, 4), (true, 8, 4), (true, 12, 4)]);
    // xchg [rdi], edx.
    let (after, memory) = run(&[0x87, 0x17]);
    assert_eq!((after.general[2], memory.bytes[0]), (0x958e_8780, before.general[2] as u8));
}

#[test]
fn what_is_not_done_is_named_by_its_bytes() {
    // lock or dword [rdi], 4; lock xadd [rdi], eax; shl dword [rdi]; push [rdi]; mov eax, ecx;
    // mov [rdi], es; movq mm0, [rdi]; addps xmm0, [rdi]; movsd (of a string); movdir64b;
    // vmovd xmm0, [rdi]; C7 /1; an unfinished mov.
    for code in [
        &[0xf0, 0x83, 0x0f, 0x04][..],
        &[0xf0, 0x0f, 0xc1, 0x07],
        &[0xd1, 0x27],
        &[0xff, 0x37],
        &[0x89, 0xc8],
        &[0x8c, 0x07],
        &[0x0f, 0x6f, 0x07],
        &[0x0f, 0x58, 0x07],
        &[0xa5],
        &[0x66, 0x0f, 0x38, 0xf8, 0x07],
        &[0xc5, 0xf9, 0x6e, 0x07],
        &[0xc7, 0x0f, 0, 0, 0, 0],
        &[0x8b, 0x80, 0, 0, 0],
        &[],
    ] {
        assert_eq!(decode(code).unwrap_err(), Unknown(code.to_vec()));
    }
    assert_eq!(decode(&[0xd1, 0x27]).unwrap_err().to_string(), "unknown instruction d1 27");
}

#[test]
fn arithmetic_reads_once_and_writes_once_where_the_result_goes() {
    let before = cpu();
    let rcx = before.general[1] as u32;
    // or dword [rax], 4: as a compiler makes of a volatile |=.
    let (after, memory) = run(&[0x83, 0x08, 0x04]);
    assert_eq!(memory.accesses, [(false, 0, 4), (true, 0, 4)]);
    assert_eq!((memory.bytes[..4].to_vec(), after.general), (0x958e_8784_u32.to_le_bytes().to_vec(), before.general));
    // and [rdi], cx; add [rdi], rcx; xor byte [rdi], 0x80; and dword [rdi], -2 (81, then 83).
    let bytes = |code: &[u8]| u64::from_le_bytes(run(code).1.bytes[..8].try_into().unwrap());
    let whole = u64::from_le_bytes(super::tests::memory().bytes[..8].try_into().unwrap());
    assert_eq!(bytes(&[0x66, 0x21, 0x0f]), whole & (u64::from(rcx) | !0xffff));
    assert_eq!(bytes(&[0x48, 0x01, 0x0f]), whole.wrapping_add(before.general[1]));
    assert_eq!(bytes(&[0x80, 0x37, 0x80]), whole ^ 0x80);
    assert_eq!(bytes(&[0x81, 0x27, 0xfe, 0xff, 0xff, 0xff]), whole & !1);
    assert_eq!(bytes(&[0x66, 0x81, 0x27, 0xfe, 0xff]), whole & !1);
    // inc byte [rdi]; dec qword [rdi]; not word [rdi].
    assert_eq!(bytes(&[0xfe, 0x07]), whole + 1);
    assert_eq!(bytes(&[0x48, 0xff, 0x0f]), whole - 1);
    assert_eq!(bytes(&[0x66, 0xf7, 0x17]), whole ^ 0xffff);
    // and ecx, [rdi]; sub ch, [rdi]: to the register.
    let (after, memory) = run(&[0x23, 0x0f]);
    assert_eq!((after.general[1], memory.accesses.as_slice()), (u64::from(rcx & 0x958e_8780), &[(false, 0, 4)][..]));
    assert_eq!(run(&[0x2a, 0x2f]).0.general[1] >> 8 & 0xff, u64::from((rcx >> 8) as u8 ^ 0x80));
    // cmp [rdi], ecx; test byte [rdi], 1; test dword [rdi], 0x80; cmp ecx, [rdi]: flags only.
    for (code, zero) in [
        (&[0x39, 0x0f][..], false),
        (&[0xf6, 0x07, 1], true),
        (&[0xf7, 0x07, 0x80, 0, 0, 0], false),
        (&[0x3b, 0x0f], false),
    ] {
        let (after, memory) = run(code);
        assert_eq!((after.general, memory.accesses.len()), (before.general, 1), "{code:x?}");
        assert_eq!(after.flags & 0x40 != 0, zero, "{code:x?}");
    }
}

#[test]
fn no_bytes_make_it_panic_and_none_are_read_that_are_not_there() {
    let mut seed = 1_u64;
    for _ in 0..200_000 {
        let code: [u8; 16] = std::array::from_fn(|_| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 56) as u8
        });
        for prefix in [&[][..], &[0x66], &[0xf3, 0x0f], &[0x0f, 0x38], &[0x66, 0x48, 0x0f, 0x3a]] {
            let code = [prefix, &code].concat();
            if let Ok(instruction) = decode(&code) {
                let len = usize::from(instruction.len);
                assert!(len <= LONGEST && decode(&code[..len - 1]).is_err(), "{code:02x?}");
                instruction.run(&mut cpu(), &mut memory());
            }
        }
    }
}

/// What computes with memory and something.
const ARITHMETIC: &[&str] = &["add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"];

/// How each of them is spelled, and with what: `{r}`.
#[rustfmt::skip]
const ARITHMETIC_SPELLINGS: &[(&str, &[&str])] = &[
    ("byte ptr [rdi], {r}", &["al", "dh", "r9b", "0x12"]),
    ("word ptr [rdi], {r}", &["cx", "r13w", "-2", "0x1234"]),
    ("dword ptr [rdi], {r}", &["ebx", "r12d", "4", "0x12345678"]),
    ("qword ptr [rdi], {r}", &["rcx", "r10", "-2", "0x12345678"]),
    ("{r}, byte ptr [rdi]", &["al", "ch", "r9b"]),
    ("{r}, word ptr [rdi]", &["ax", "r8w"]),
    ("{r}, dword ptr [rdi]", &["eax", "r14d"]),
    ("{r}, qword ptr [rdi]", &["rsi", "r11"]),
];

/// What else there is, with the registers that it is run with.
#[rustfmt::skip]
const SPELLINGS: &[(&str, &[&str])] = &[
    ("mov {r}, byte ptr [rdi]", &["al", "ch", "sil", "r9b"]),
    ("mov byte ptr [rdi], {r}", &["bl", "dh", "dil", "r15b"]),
    ("mov {r}, word ptr [rdi]", &["ax", "r8w"]),
    ("mov word ptr [rdi], {r}", &["cx", "r13w"]),
    ("mov {r}, dword ptr [rdi]", &["eax", "edx", "r14d"]),
    ("mov dword ptr [rdi], {r}", &["ebx", "ebp", "r12d"]),
    ("mov {r}, qword ptr [rdi]", &["rax", "rsi", "r11"]),
    ("mov qword ptr [rdi], {r}", &["rcx", "r10"]),
    ("mov byte ptr [rdi], {r}", &["0x12"]),
    ("mov word ptr [rdi], {r}", &["0x1234"]),
    ("mov dword ptr [rdi], {r}", &["0x12345678"]),
    ("mov qword ptr [rdi], {r}", &["-2"]),
    ("movzx {r}, byte ptr [rdi]", &["ax", "ecx", "r9"]),
    ("movzx {r}, word ptr [rdi]", &["ecx", "r9"]),
    ("movsx {r}, byte ptr [rdi]", &["ax", "ecx", "r9"]),
    ("movsx {r}, word ptr [rdi]", &["ecx", "r9"]),
    ("movsxd {r}, dword ptr [rdi]", &["rcx", "r9"]),
    ("test byte ptr [rdi], {r}", &["al", "dh", "r9b", "0x81"]),
    ("test word ptr [rdi], {r}", &["cx", "0x1234"]),
    ("test dword ptr [rdi], {r}", &["ebx", "r12d", "0x12345678"]),
    ("test qword ptr [rdi], {r}", &["rcx", "-2"]),
    ("{r} byte ptr [rdi]", &["inc", "dec", "not"]),
    ("{r} word ptr [rdi]", &["inc", "dec", "not"]),
    ("{r} dword ptr [rdi]", &["inc", "dec", "not"]),
    ("{r} qword ptr [rdi]", &["inc", "dec", "not"]),
    ("xchg byte ptr [rdi], {r}", &["al", "dh"]),
    ("xchg dword ptr [rdi], {r}", &["eax", "r9d"]),
    ("xchg qword ptr [rdi], {r}", &["rdx"]),
    ("movbe {r}, dword ptr [rdi]", &["ecx", "r8d"]),
    ("movbe {r}, word ptr [rdi]", &["cx"]),
    ("movbe qword ptr [rdi], {r}", &["rax"]),
    ("movnti dword ptr [rdi], {r}", &["eax"]),
    ("movnti qword ptr [rdi], {r}", &["r9"]),
    ("movd {r}, dword ptr [rdi]", &["xmm0", "xmm9"]),
    ("movd dword ptr [rdi], {r}", &["xmm1", "xmm15"]),
    ("movq {r}, qword ptr [rdi]", &["xmm2", "xmm8"]),
    ("movq qword ptr [rdi], {r}", &["xmm2", "xmm8"]),
    ("movss {r}, dword ptr [rdi]", &["xmm3"]),
    ("movss dword ptr [rdi], {r}", &["xmm3"]),
    ("movsd {r}, qword ptr [rdi]", &["xmm4"]),
    ("movsd qword ptr [rdi], {r}", &["xmm4"]),
    ("movups {r}, xmmword ptr [rdi]", &["xmm5", "xmm10"]),
    ("movups xmmword ptr [rdi], {r}", &["xmm5", "xmm10"]),
    ("movupd {r}, xmmword ptr [rdi]", &["xmm5"]),
    ("movupd xmmword ptr [rdi], {r}", &["xmm5"]),
    ("movaps {r}, xmmword ptr [rdi]", &["xmm6"]),
    ("movaps xmmword ptr [rdi], {r}", &["xmm6"]),
    ("movapd {r}, xmmword ptr [rdi]", &["xmm6"]),
    ("movapd xmmword ptr [rdi], {r}", &["xmm6"]),
    ("movdqa {r}, xmmword ptr [rdi]", &["xmm7"]),
    ("movdqa xmmword ptr [rdi], {r}", &["xmm7"]),
    ("movdqu {r}, xmmword ptr [rdi]", &["xmm0", "xmm11"]),
    ("movdqu xmmword ptr [rdi], {r}", &["xmm0", "xmm11"]),
    ("lddqu {r}, xmmword ptr [rdi]", &["xmm1"]),
    ("movntps xmmword ptr [rdi], {r}", &["xmm1"]),
    ("movntpd xmmword ptr [rdi], {r}", &["xmm1"]),
    ("movntdq xmmword ptr [rdi], {r}", &["xmm1"]),
    ("movntdqa {r}, xmmword ptr [rdi]", &["xmm1"]),
    ("movlps {r}, qword ptr [rdi]", &["xmm2"]),
    ("movlps qword ptr [rdi], {r}", &["xmm2"]),
    ("movlpd {r}, qword ptr [rdi]", &["xmm2"]),
    ("movlpd qword ptr [rdi], {r}", &["xmm2"]),
    ("movhps {r}, qword ptr [rdi]", &["xmm2"]),
    ("movhps qword ptr [rdi], {r}", &["xmm2"]),
    ("movhpd {r}, qword ptr [rdi]", &["xmm2"]),
    ("movhpd qword ptr [rdi], {r}", &["xmm2"]),
    ("pinsrb {r}, byte ptr [rdi], 13", &["xmm3"]),
    ("pinsrw {r}, word ptr [rdi], 5", &["xmm3"]),
    ("pinsrd {r}, dword ptr [rdi], 2", &["xmm3", "xmm12"]),
    ("pinsrq {r}, qword ptr [rdi], 1", &["xmm3"]),
    ("pextrb byte ptr [rdi], {r}, 13", &["xmm3"]),
    ("pextrw word ptr [rdi], {r}, 5", &["xmm3"]),
    ("pextrd dword ptr [rdi], {r}, 3", &["xmm3"]),
    ("pextrq qword ptr [rdi], {r}, 1", &["xmm3"]),
];

/// Decoded only: not every processor has it, or it takes another address.
const SPELLINGS_NOT_RUN: &[&str] = &[
    "movdiri dword ptr [rdi], eax",
    "movdiri qword ptr [rdi], r9",
    "movabs eax, dword ptr [0x123456789abcdef0]",
    "movabs qword ptr [0x123456789abcdef0], rax",
    "movabs al, byte ptr [0x123456789abcdef0]",
    "mov eax, dword ptr [edi]",
    "mov dword ptr fs:[r12+r13*2-0x12345], 0x12345678",
    "or dword ptr [rip+0x1000], -2",
];

/// What `as` makes of each line; None where there is no assembler.
fn assemble(lines: &[String]) -> Option<Vec<Vec<u8>>> {
    let dir = tempfile::tempdir().unwrap();
    let (source, object, flat) = (dir.path().join("a.s"), dir.path().join("a.o"), dir.path().join("a.bin"));
    // Each line at a label; a table of the labels in another section.
    let mut text = String::from(".intel_syntax noprefix\n.text\n");
    let mut table = String::from(".section .table,\"a\"\n");
    for (i, line) in lines.iter().enumerate() {
        text += &format!("L{i}: {line}\n");
        table += &format!(".long L{i} - L0\n");
    }
    table += ".long Lend - L0\n";
    std::fs::write(&source, format!("{text}Lend:\n{table}")).unwrap();
    let made = Command::new("as").arg("-o").arg(&object).arg(&source).output().ok()?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let section = |name: &str| {
        let made = Command::new("objcopy").args(["-O", "binary", "-j", name]).arg(&object).arg(&flat).status().ok()?;
        assert!(made.success());
        std::fs::read(&flat).ok()
    };
    let (code, table) = (section(".text")?, section(".table")?);
    let at: Vec<usize> = table.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap()) as usize).collect();
    Some(at.windows(2).map(|pair| code[pair[0]..pair[1]].to_vec()).collect())
}

#[test]
fn what_an_instruction_leaves_is_what_the_processor_leaves() {
    let arithmetic = ARITHMETIC.iter().flat_map(|name| {
        ARITHMETIC_SPELLINGS.iter().map(move |(operands, registers)| (format!("{name} {operands}"), *registers))
    });
    let others = SPELLINGS.iter().map(|(spelling, registers)| (spelling.to_string(), *registers));
    let run: Vec<String> = arithmetic
        .chain(others)
        .flat_map(|(spelling, registers)| registers.iter().map(move |register| spelling.replace("{r}", register)))
        // The trampoline keeps rdi to itself.
        .filter(|line| !line.contains(", dil"))
        .collect();
    let lines: Vec<String> = run.iter().cloned().chain(SPELLINGS_NOT_RUN.iter().map(|line| line.to_string())).collect();
    let Some(made) = assemble(&lines) else {
        println!("SKIPPED  decoding against the processor: there is no `as` here");
        return;
    };
    let mut actions = BTreeSet::new();
    for (i, (line, code)) in lines.iter().zip(&made).enumerate() {
        // What is behind an instruction must not change how it is read.
        let padded = [code.clone(), vec![0xff; LONGEST]].concat();
        let instruction = decode(&padded).unwrap_or_else(|e| panic!("{line}: {e}"));
        assert_eq!(usize::from(instruction.len), code.len(), "{line}: {code:02x?}");
        actions.insert(format!("{:?}", instruction.action));
        let has_movbe = std::arch::is_x86_feature_detected!("movbe");
        if i >= run.len() || line.contains("movbe") && !has_movbe {
            continue;
        }
        let (mut ours, mut memory_ours) = (cpu(), memory());
        instruction.run(&mut ours, &mut memory_ours);
        let (mut theirs, bytes) = processor::run(code, cpu(), memory().bytes);
        ours.rip = theirs.rip;
        for cpu in [&mut ours, &mut theirs] {
            // Of the arithmetic flags all but the one that logic leaves as it likes.
            cpu.flags &= 0x8c5;
        }
        for kept in [4, 7] {
            ours.general[kept] = theirs.general[kept];
        }
        assert_eq!((&ours, memory_ours.bytes), (&theirs, bytes), "{line}: {code:02x?}");
    }
    assert!(actions.len() > 80, "{} of {}", actions.len(), lines.len());
}

/// The processor itself, for one instruction.
#[allow(unsafe_code)]
mod processor {
    use super::Cpu;

    #[repr(C, align(16))]
    struct State {
        general: [u64; 16],
        vector: [u128; 16],
        memory: [u8; 16],
        flags: u64,
    }

    /// Runs `code`, whose memory operand is `[rdi]`, with these registers
    /// (except rsp and rdi) and this memory.
    pub fn run(code: &[u8], cpu: Cpu, memory: [u8; 16]) -> (Cpu, [u8; 16]) {
        let mut state = State { general: cpu.general, vector: cpu.vector, memory, flags: cpu.flags };
        let page = assemble(code);
        // SAFETY: the page holds a function that keeps the ABI's promises: it
        // saves what it must, touches only the state and returns.
        unsafe {
            let function: extern "sysv64" fn(*mut State) = std::mem::transmute(page);
            function(&raw mut state);
            libc::munmap(page, 4096);
        }
        (Cpu { general: state.general, vector: state.vector, flags: state.flags, rip: 0 }, state.memory)
    }

    /// push callee-saved; load all from [rdi]; rdi += memory; CODE; flags to the
    /// stack; rdi back from it; store all; pop; ret.
    fn assemble(code: &[u8]) -> *mut libc::c_void {
        let mut text = Vec::new();
        let pushed: [&[u8]; 7] =
            [&[0x53], &[0x55], &[0x41, 0x54], &[0x41, 0x55], &[0x41, 0x56], &[0x41, 0x57], &[0x57]];
        pushed.iter().for_each(|push| text.extend_from_slice(push));
        // movups xmmN, [rdi + 128 + 16 N], or the other way.
        let vectors = |opcode: u8, text: &mut Vec<u8>| {
            for n in 0..16_u8 {
                if n >= 8 {
                    text.push(0x44);
                }
                text.extend_from_slice(&[0x0f, opcode, 0x87 | (n & 7) << 3]);
                text.extend_from_slice(&(128 + 16 * u32::from(n)).to_le_bytes());
            }
        };
        // mov rN, [rdi + 8 N], or the other way, but rsp and rdi.
        let generals = |opcode: u8, text: &mut Vec<u8>| {
            for n in (0..16_u8).filter(|n| ![4, 7].contains(n)) {
                let rex = 0x48 | u8::from(n >= 8) << 2;
                text.extend_from_slice(&[rex, opcode, 0x87 | (n & 7) << 3]);
                text.extend_from_slice(&(8 * u32::from(n)).to_le_bytes());
            }
        };
        vectors(0x10, &mut text);
        generals(0x8b, &mut text);
        // push qword [rdi + 400]; popfq; lea rdi, [rdi + 384]
        text.extend_from_slice(&[0xff, 0xb7, 0x90, 0x01, 0, 0, 0x9d]);
        text.extend_from_slice(&[0x48, 0x8d, 0xbf, 0x80, 0x01, 0, 0]);
        text.extend_from_slice(code);
        // pushfq; mov rdi, [rsp + 8]; pop qword [rdi + 400]
        text.extend_from_slice(&[0x9c, 0x48, 0x8b, 0x7c, 0x24, 0x08]);
        text.extend_from_slice(&[0x8f, 0x87, 0x90, 0x01, 0, 0]);
        vectors(0x11, &mut text);
        generals(0x89, &mut text);
        let popped: [&[u8]; 7] =
            [&[0x5f], &[0x41, 0x5f], &[0x41, 0x5e], &[0x41, 0x5d], &[0x41, 0x5c], &[0x5d], &[0x5b]];
        popped.iter().for_each(|pop| text.extend_from_slice(pop));
        text.push(0xc3);
        // SAFETY: a fresh page, written before it is run.
        unsafe {
            let page = libc::mmap(
                std::ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(page, libc::MAP_FAILED);
            std::ptr::copy_nonoverlapping(text.as_ptr(), page.cast(), text.len());
            page
        }
    }
}

#[test]
fn an_instruction_is_as_wide_as_the_memory_that_it_names() {
    let widths: [(&[u8], u64); 5] = [
        (&[0x89, 0x07], 4),              // mov [rdi], eax
        (&[0x66, 0xc7, 0x07, 1, 0], 2),  // mov word [rdi], 1
        (&[0xf3, 0x0f, 0x7f, 0x07], 16), // movdqu [rdi], xmm0
        (&[0xc3], 0),                    // ret
        (&[0x06], 0),                    // none in 64-bit code
    ];
    for (code, bytes) in widths {
        assert_eq!(width(code), bytes, "{code:x?}");
    }
}
