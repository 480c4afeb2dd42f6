//! Modules out of any bytes: atoms that are sound, mostly, and do something with everything
//! that WebAssembly 2.0 has.
//!
//! Each byte is a choice; where there are no more, the simplest is made. Whatever a
//! module does has an end: each call takes from a global that begins with a few hundred,
//! and loops count. It may trap on its way.

use atoll_builder::atoms::abi;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, CustomSection, DataSection, ElementSection, Elements,
    ExportKind, ExportSection, Function, FunctionSection, GlobalSection, GlobalType, HeapType,
    ImportSection, Instruction as I, MemArg, MemorySection, MemoryType, Module, RefType,
    TableSection, TableType, TypeSection, ValType,
};

/// Choices, one byte after the other.
#[derive(Debug)]
pub struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n.max(1)
    }

    fn number(&mut self) -> i64 {
        match self.byte() {
            n @ 0..200 => i64::from(n) - 100,
            200..220 => i64::from(i32::MIN) + i64::from(self.byte()),
            220..240 => i64::MAX - i64::from(self.byte()),
            _ => (0..8).fold(0, |n, _| n << 8 | i64::from(self.byte())),
        }
    }
}

/// Types of functions, by number: those of helpers, and those of the ABI.
const I_I: u32 = 0;
const LI_I: u32 = 1;
const TYPES: [(&[ValType], &[ValType]); 6] = {
    use ValType::{I32, I64};
    [
        (&[I32], &[I32]),
        (&[I64, I32], &[I32]),
        (&[], &[I32]),
        (&[I32, I64, I32], &[I32]),
        (&[I64, I32, I32], &[I32]),
        (&[], &[]),
    ]
};

/// What a body may name.
struct Shape {
    /// Imported functions: their parameters and result.
    imports: Vec<&'static abi::Signature>,
    /// Types of the helpers.
    helpers: Vec<u32>,
    /// Mutable globals that it uses, i32 and i64 by turns. The first counts calls down.
    globals: u32,
    /// Elements of table 0, if there is one.
    table: bool,
}

/// A module out of choices.
pub fn module(bytes: &[u8]) -> Vec<u8> {
    let mut c = Choices(bytes);
    let shape = Shape {
        imports: (0..c.below(4)).map(|_| &abi::IMPORTS[c.below(abi::IMPORTS.len())]).collect(),
        helpers: (0..c.below(4)).map(|_| c.below(2) as u32).collect(),
        globals: 2 + c.below(4) as u32,
        table: c.below(3) > 0,
    };
    let mut out = Module::new();
    let mut types = TypeSection::new();
    for (params, results) in TYPES {
        types.ty().function(params.iter().copied(), results.iter().copied());
    }
    let ty = |letter| if letter == b'l' { ValType::I64 } else { ValType::I32 };
    for import in &shape.imports {
        types.ty().function(import.params.bytes().map(ty), import.results.bytes().map(ty));
    }
    out.section(&types);
    let mut imports = ImportSection::new();
    for (i, import) in shape.imports.iter().enumerate() {
        let ty = TYPES.len() as u32 + i as u32;
        imports.import(abi::MODULE, import.name, wasm_encoder::EntityType::Function(ty));
    }
    out.section(&imports);
    // The ABI's come behind the helpers: atoll_abi, invoke, interrupt, future, _initialize.
    let first = (shape.imports.len() + shape.helpers.len()) as u32;
    let extra = c.below(4) as u32;
    let mut functions = FunctionSection::new();
    shape.helpers.iter().chain(&[2, 3, 3, 4, 5][..2 + extra as usize]).for_each(|ty| {
        functions.function(*ty);
    });
    out.section(&functions);
    tables(&mut c, &shape, &mut out);
    let mut memories = MemorySection::new();
    let minimum = 1 + c.below(3) as u64;
    let maximum = (c.below(2) > 0).then_some(minimum + c.below(3) as u64);
    memories.memory(MemoryType {
        minimum,
        maximum,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    out.section(&memories);
    let mut globals = GlobalSection::new();
    let global = |val_type, mutable| GlobalType { val_type, mutable, shared: false };
    globals.global(global(ValType::I32, true), &ConstExpr::i32_const(300));
    for n in 1..shape.globals {
        match n % 2 {
            0 => {
                globals.global(global(ValType::I32, true), &ConstExpr::i32_const(c.number() as i32))
            }
            _ => globals.global(global(ValType::I64, true), &ConstExpr::i64_const(c.number())),
        };
    }
    globals.global(global(ValType::I32, false), &ConstExpr::i32_const(c.number() as i32));
    if c.byte() > 250 {
        globals.global(global(ValType::FUNCREF, true), &ConstExpr::ref_null(HeapType::FUNC));
    }
    out.section(&globals);
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    let names = ["atoll_abi", "invoke", "interrupt", "future", "_initialize"];
    for (name, i) in names.iter().zip(first..).take(2 + extra as usize) {
        exports.export(name, ExportKind::Func, i);
    }
    if c.below(2) > 0 {
        exports.export("helper", ExportKind::Func, first);
        exports.export("__heap_base", ExportKind::Global, shape.globals);
    }
    out.section(&exports);
    if shape.table {
        elements(&mut c, first, &mut out);
    }
    let mut code = CodeSection::new();
    let imported = shape.imports.len() as u32;
    for (i, ty) in shape.helpers.iter().enumerate() {
        code.function(&Body::of(&mut c, &shape, imported + i as u32, *ty, true));
    }
    let mut version = Function::new([]);
    version.instruction(&I::I32Const(1)).instruction(&I::End);
    code.function(&version);
    for ty in &[3, 3, 4, 5][..1 + extra as usize] {
        code.function(&Body::of(&mut c, &shape, first, *ty, false));
    }
    out.section(&code);
    data(&mut c, minimum, &mut out);
    if c.below(2) > 0 {
        let data = ["text a\n", "ctl c\nevents e 64\n", "names n\n"][c.below(3)];
        out.section(&CustomSection { name: "atoll.files".into(), data: data.as_bytes().into() });
        out.section(&CustomSection { name: "producers".into(), data: (&[0][..]).into() });
    }
    out.finish()
}

fn tables(c: &mut Choices<'_>, shape: &Shape, out: &mut Module) {
    if shape.table {
        let mut tables = TableSection::new();
        let maximum = (c.below(2) > 0).then_some(9);
        for _ in 0..1 + c.below(2) {
            tables.table(TableType {
                element_type: RefType::FUNCREF,
                minimum: 5,
                maximum,
                table64: false,
                shared: false,
            });
        }
        out.section(&tables);
    }
}

fn elements(c: &mut Choices<'_>, all: u32, out: &mut Module) {
    let mut elements = ElementSection::new();
    for _ in 0..1 + c.below(2) {
        let functions: Vec<u32> =
            (0..c.below(3)).map(|_| c.below(all as usize + 2) as u32).collect();
        let most = if c.byte() > 240 { 9 } else { 3 };
        let at = ConstExpr::i32_const(c.below(most) as i32);
        let items = Elements::Functions(functions.into());
        match c.below(6) {
            5 => elements.passive(items),
            4 => elements.declared(items),
            _ => elements.active(None, &at, items),
        };
    }
    out.section(&elements);
}

fn data(c: &mut Choices<'_>, pages: u64, out: &mut Module) {
    let mut data = DataSection::new();
    for _ in 0..c.below(3) {
        let bytes: Vec<u8> = (0..c.below(20)).map(|_| c.byte()).collect();
        match c.below(8) {
            7 => data.passive(bytes),
            6 => data.active(0, &ConstExpr::i32_const((pages << 16) as i32 - 20), bytes),
            _ => data.active(0, &ConstExpr::i32_const(c.number() as i32 & 0xffff), bytes),
        };
    }
    out.section(&data);
}

/// The body of a function, as it is made.
struct Body<'b, 'c> {
    c: &'b mut Choices<'c>,
    shape: &'b Shape,
    /// Functions below this one may be called.
    below: u32,
    params: &'static [ValType],
    out: Vec<I<'static>>,
    /// Instructions that may follow still.
    left: usize,
}

/// Locals behind the parameters: i32, i32, i64, v128, and the counters of loops.
const LOCALS: [(u32, ValType); 4] =
    [(2, ValType::I32), (1, ValType::I64), (1, ValType::V128), (3, ValType::I32)];

fn at(offset: u64) -> MemArg {
    MemArg { offset, align: 0, memory_index: 0 }
}

impl Body<'_, '_> {
    fn of(c: &mut Choices<'_>, shape: &Shape, below: u32, ty: u32, helper: bool) -> Function {
        let (params, results) = TYPES[ty as usize];
        let mut body = Body { c, shape, below, params, out: Vec::new(), left: 60 };
        // Whoever calls himself has an end.
        body.out.extend([
            I::GlobalGet(0),
            I::I32Eqz,
            I::If(BlockType::Empty),
            I::Unreachable,
            I::End,
            I::GlobalGet(0),
            I::I32Const(1),
            I::I32Sub,
            I::GlobalSet(0),
        ]);
        for _ in 0..1 + body.c.below(4) {
            body.statement(0, 0);
        }
        if !helper {
            // What it knows is to be seen.
            for n in 0..shape.globals {
                let store = if n % 2 == 0 { I::I32Store(at(0)) } else { I::I64Store(at(0)) };
                body.out.extend([I::I32Const(1024 + 8 * n as i32), I::GlobalGet(n), store]);
            }
        }
        if !results.is_empty() {
            body.number(0);
        }
        let mut function = Function::new(LOCALS);
        for instruction in &body.out {
            function.instruction(instruction);
        }
        function.instruction(&I::End);
        function
    }

    fn more(&mut self, depth: usize) -> bool {
        self.left = self.left.saturating_sub(1);
        depth < 5 && self.left > 0
    }

    /// A local behind the parameters.
    fn local(&self, n: u32) -> u32 {
        self.params.len() as u32 + n
    }

    /// An address that is there, mostly.
    fn address(&mut self, depth: usize) {
        self.number(depth + 1);
        let mask = if self.c.byte() > 250 { -1 } else { 0xfff };
        self.out.extend([I::I32Const(mask), I::I32And]);
    }

    fn global(&mut self, wide: bool) -> u32 {
        let all = self.shape.globals;
        let n = 1 + self.c.below(all as usize - 1) as u32;
        // Even ones are i32; the first is not theirs.
        match (wide, n % 2) {
            (true, 1) | (false, 0) => n,
            (true, _) => n - 1,
            (false, _) if n + 1 < all => n + 1,
            (false, _) => {
                if all > 2 {
                    2
                } else {
                    all
                }
            }
        }
    }

    fn statement(&mut self, depth: usize, loops: u32) {
        if !self.more(depth) {
            return;
        }
        match self.c.below(16) {
            0 | 1 => {
                self.number(depth + 1);
                let n = self.c.below(2) as u32;
                self.out.push(I::LocalSet(self.local(n)));
            }
            2 => {
                self.wide(depth + 1);
                self.out.push(I::LocalSet(self.local(2)));
            }
            3 => {
                let n = self.global(true);
                self.wide(depth + 1);
                self.out.push(I::GlobalSet(n));
            }
            4 => {
                let n = self.global(false);
                if n < self.shape.globals {
                    self.number(depth + 1);
                    self.out.push(I::GlobalSet(n));
                }
            }
            5 | 6 => {
                self.address(depth);
                self.number(depth + 1);
                let store = [I::I32Store(at(0)), I::I32Store8(at(9)), I::I32Store16(at(3))];
                self.out.push(store[self.c.below(3)].clone());
            }
            7 => {
                self.address(depth);
                self.wide(depth + 1);
                self.out.push(I::I64Store(at(16)));
            }
            8 => {
                self.number(depth + 1);
                self.out.push(I::If(BlockType::Empty));
                self.statement(depth + 1, loops);
                self.out.push(I::Else);
                self.statement(depth + 1, loops);
                self.out.push(I::End);
            }
            9 if loops < 3 => {
                let count = self.local(4 + loops);
                let times = 1 + self.c.below(4) as i32;
                self.out.extend([I::I32Const(times), I::LocalSet(count)]);
                self.out.extend([I::Block(BlockType::Empty), I::Loop(BlockType::Empty)]);
                self.statement(depth + 1, loops + 1);
                self.number(depth + 2);
                self.out.extend([I::I32Const(7), I::I32Eq, I::BrIf(1)]);
                self.out.extend([I::LocalGet(count), I::I32Const(1), I::I32Sub]);
                self.out.extend([I::LocalTee(count), I::BrIf(0), I::End, I::End]);
            }
            10 => {
                self.address(depth);
                self.address(depth);
                let count = self.c.byte().into();
                self.out.extend([I::I32Const(count), I::MemoryCopy { src_mem: 0, dst_mem: 0 }]);
            }
            11 => {
                self.address(depth);
                self.number(depth + 1);
                let count = self.c.byte().into();
                self.out.extend([I::I32Const(count), I::MemoryFill(0)]);
            }
            12 => {
                self.number(depth + 1);
                let lane = self.c.below(4) as u8;
                self.out.extend([I::I32x4Splat, I::LocalGet(self.local(3)), I::I8x16Add]);
                self.out.extend([I::LocalTee(self.local(3)), I::I32x4ExtractLane(lane)]);
                self.out.push(I::LocalSet(self.local(1)));
            }
            // What a capture would miss.
            13 if self.shape.table && self.c.byte() > 240 => {
                self.out.extend([I::I32Const(0), I::RefNull(HeapType::FUNC), I::TableSet(0)]);
            }
            _ => {
                self.number(depth + 1);
                self.out.push(I::Drop);
            }
        }
    }

    /// Leaves an i32.
    fn number(&mut self, depth: usize) {
        if !self.more(depth) {
            let n = self.c.number() as i32;
            return self.out.push(I::I32Const(n));
        }
        match self.c.below(18) {
            0 => {
                let n = self.c.number() as i32;
                self.out.push(I::I32Const(n));
            }
            1 => self.out.push(I::LocalGet(self.local(0))),
            2 => self.out.push(I::LocalGet(self.local(1))),
            3 => {
                let n = self.global(false);
                self.out.push(I::GlobalGet(n));
            }
            4..=6 => {
                self.number(depth + 1);
                self.number(depth + 1);
                let all = [
                    I::I32Add,
                    I::I32Sub,
                    I::I32Mul,
                    I::I32And,
                    I::I32Or,
                    I::I32Xor,
                    I::I32Shl,
                    I::I32ShrS,
                    I::I32ShrU,
                    I::I32Rotl,
                    I::I32DivS,
                    I::I32DivU,
                    I::I32RemS,
                    I::I32RemU,
                    I::I32LtS,
                    I::I32GtU,
                    I::I32Eq,
                ];
                self.out.push(all[self.c.below(all.len())].clone());
            }
            7 => {
                self.number(depth + 1);
                let all = [I::I32Clz, I::I32Ctz, I::I32Popcnt, I::I32Eqz, I::I32Extend8S];
                self.out.push(all[self.c.below(all.len())].clone());
            }
            8 => {
                self.address(depth);
                let all = [I::I32Load(at(0)), I::I32Load8S(at(5)), I::I32Load16U(at(1))];
                self.out.push(all[self.c.below(all.len())].clone());
            }
            9 => {
                self.wide(depth + 1);
                self.out.push(I::I32WrapI64);
            }
            10 => {
                self.wide(depth + 1);
                self.wide(depth + 1);
                self.out.push([I::I64LtU, I::I64GeS, I::I64Eq][self.c.below(3)].clone());
            }
            11 => self.out.push(I::MemorySize(0)),
            12 => {
                let pages = self.c.below(3) as i32;
                self.out.extend([I::I32Const(pages), I::MemoryGrow(0)]);
            }
            13 => {
                self.number(depth + 1);
                self.number(depth + 1);
                self.number(depth + 1);
                self.out.push(I::Select);
            }
            14 => {
                self.number(depth + 1);
                self.out.push(I::If(BlockType::Result(ValType::I32)));
                self.number(depth + 1);
                self.out.push(I::Else);
                self.number(depth + 1);
                self.out.push(I::End);
            }
            15 => self.call(depth),
            16 if self.shape.table => {
                let ty = [I_I, LI_I][self.c.below(2)];
                self.arguments(TYPES[ty as usize].0, depth);
                let place = self.c.below(6) as i32;
                self.out.push(I::I32Const(place));
                self.out.push(I::CallIndirect { type_index: ty, table_index: 0 });
            }
            _ => {
                self.number(depth + 1);
                self.out.extend([I::F64ConvertI32S, I::F64Const(1.5.into()), I::F64Mul]);
                self.out.push(I::I32TruncSatF64S);
            }
        }
    }

    /// Leaves an i64.
    fn wide(&mut self, depth: usize) {
        if !self.more(depth) {
            let n = self.c.number();
            return self.out.push(I::I64Const(n));
        }
        match self.c.below(6) {
            0 => {
                let n = self.c.number();
                self.out.push(I::I64Const(n));
            }
            1 => self.out.push(I::LocalGet(self.local(2))),
            2 => {
                let n = self.global(true);
                self.out.push(I::GlobalGet(n));
            }
            3 => {
                self.number(depth + 1);
                self.out.push([I::I64ExtendI32S, I::I64ExtendI32U][self.c.below(2)].clone());
            }
            4 => {
                self.address(depth);
                self.out.push([I::I64Load(at(0)), I::I64Load32S(at(7))][self.c.below(2)].clone());
            }
            _ => {
                self.wide(depth + 1);
                self.wide(depth + 1);
                let all = [I::I64Add, I::I64Sub, I::I64Mul, I::I64Xor, I::I64Rotr, I::I64DivU];
                self.out.push(all[self.c.below(all.len())].clone());
            }
        }
    }

    fn arguments(&mut self, params: &[ValType], depth: usize) {
        for param in params {
            if *param == ValType::I64 { self.wide(depth + 1) } else { self.number(depth + 1) }
        }
    }

    /// Calls a function below this one, and leaves an i32.
    fn call(&mut self, depth: usize) {
        let to = self.c.below(self.below as usize) as u32;
        let imported = self.shape.imports.len() as u32;
        if self.below == 0 {
            return self.out.push(I::I32Const(3));
        }
        if let Some(helper) = to.checked_sub(imported) {
            let ty = self.shape.helpers.get(helper as usize).copied().unwrap_or(I_I);
            self.arguments(TYPES[ty as usize].0, depth);
            return self.out.push(I::Call(to));
        }
        let import = self.shape.imports[to as usize];
        for letter in import.params.bytes() {
            if letter == b'l' { self.wide(depth + 1) } else { self.number(depth + 1) }
        }
        self.out.push(I::Call(to));
        match import.results {
            "" => self.out.push(I::I32Const(0)),
            "l" => self.out.push(I::I32WrapI64),
            _ => {}
        }
    }
}
