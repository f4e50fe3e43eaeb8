//! Writes JPEGs of made-up coefficients, with the tables of a file that a camera's library wrote.

use std::path::Path;

/// A code table: its class and number, and by symbol a code with its length.
type Table = (u8, Vec<Option<(u16, u8)>>);

/// A JPEG to be made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) size: (u16, u16),
    /// One or three.
    pub(crate) components: u8,
    /// Of the first component; the others have (1, 1).
    pub(crate) sampling: (u8, u8),
    /// Groups between restart markers, or 0.
    pub(crate) restart: u16,
    /// Coefficients of a block that may differ from zero.
    pub(crate) detail: u8,
}

/// Smooth colours with noise of every frequency on top.
pub(crate) fn random_jpeg(made: &Made, random: &mut fastrand::Rng) -> Vec<u8> {
    let tables = segments_of(0xc4);
    let codes: Vec<Table> = tables.iter().flat_map(|segment| codes(segment)).collect();
    let code =
        |class: u8, symbol: u8| codes.iter().find(|(of, _)| *of == class).unwrap().1[usize::from(symbol)].unwrap();
    let (width, height) = made.size;
    let mut bytes = vec![0xff, 0xd8];
    for quantisers in 0..2u8 {
        push_segment(&mut bytes, 0xdb, &[&[quantisers][..], &[4; 64]].concat());
    }
    tables.iter().for_each(|table| push_segment(&mut bytes, 0xc4, table));
    push_segment(&mut bytes, 0xdd, &made.restart.to_be_bytes());
    let sampling = |component: u8| if component == 0 { made.sampling } else { (1, 1) };
    let [h1, h0] = height.to_be_bytes();
    let [w1, w0] = width.to_be_bytes();
    let mut frame = vec![8, h1, h0, w1, w0, made.components];
    let mut scan = vec![made.components];
    for component in 0..made.components {
        let (across, down) = sampling(component);
        frame.extend([component + 1, across << 4 | down, u8::from(component > 0)]);
        scan.extend([component + 1, if component > 0 { 0x11 } else { 0 }]);
    }
    scan.extend([0, 63, 0]);
    push_segment(&mut bytes, 0xc0, &frame);
    push_segment(&mut bytes, 0xda, &scan);

    let groups = (width.div_ceil(8 * u16::from(made.sampling.0)), height.div_ceil(8 * u16::from(made.sampling.1)));
    let mut bits = BitWriter::default();
    let mut means = [0i32; 3];
    let mut written = [0i32; 3];
    for group in 0..u32::from(groups.0) * u32::from(groups.1) {
        if made.restart > 0 && group > 0 && group % u32::from(made.restart) == 0 {
            bits.align();
            bits.bytes.extend([0xff, 0xd0 + ((group / u32::from(made.restart) - 1) % 8) as u8]);
            written = [0; 3];
        }
        for component in 0..made.components {
            let (across, down) = sampling(component);
            for _ in 0..across * down {
                let at = usize::from(component);
                let class = u8::from(component > 0);
                means[at] = (means[at] + random.i32(-8..=8)).clamp(-110, 110);
                let (size, value) = sized(means[at] - written[at]);
                written[at] = means[at];
                bits.push_code(code(class, size), size, value);
                write_others(&mut bits, made, random, |symbol| code(0x10 | class, symbol));
            }
        }
    }
    bits.align();
    bytes.extend(bits.bytes);
    bytes.extend([0xff, 0xd9]);
    bytes
}

fn write_others(bits: &mut BitWriter, made: &Made, random: &mut fastrand::Rng, code: impl Fn(u8) -> (u16, u8)) {
    let mut run = 0;
    for position in 1..64 {
        let is_zero = random.u8(..64) > made.detail;
        if is_zero {
            run += 1;
            continue;
        }
        while run > 15 {
            bits.push_code(code(0xf0), 0, 0);
            run -= 16;
        }
        let most = if position < 6 { 4 } else { 1 };
        let value = random.i32(1..=most) * if random.bool() { 1 } else { -1 };
        let (size, value) = sized(value);
        bits.push_code(code(run << 4 | size), size, value);
        run = 0;
    }
    if run > 0 {
        bits.push_code(code(0), 0, 0);
    }
}

/// The number of bits of a value, and the bits.
fn sized(value: i32) -> (u8, u16) {
    let size = (32 - value.unsigned_abs().leading_zeros()) as u8;
    (size, if value < 0 { (value + (1 << size) - 1) as u16 } else { value as u16 })
}

#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    buffer: u64,
    count: u8,
}

impl BitWriter {
    fn push(&mut self, bits: u16, count: u8) {
        self.buffer = self.buffer << count | u64::from(bits);
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.buffer >> self.count) as u8;
            self.bytes.push(byte);
            if byte == 0xff {
                self.bytes.push(0);
            }
        }
        self.buffer &= (1 << self.count) - 1;
    }

    fn push_code(&mut self, (code, length): (u16, u8), size: u8, value: u16) {
        self.push(code, length);
        self.push(value, size);
    }

    /// Fills the last byte with ones.
    fn align(&mut self) {
        while self.count > 0 {
            self.push(1, 1);
        }
    }
}

fn push_segment(bytes: &mut Vec<u8>, marker: u8, content: &[u8]) {
    bytes.extend([0xff, marker]);
    bytes.extend((content.len() as u16 + 2).to_be_bytes());
    bytes.extend(content);
}

/// One of the pictures that `make.py` writes.
pub(crate) fn file(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images").join(name)).unwrap()
}

/// The contents of all segments of a kind in front of the scan.
fn segments_of(wanted: u8) -> Vec<Vec<u8>> {
    let bytes = file("scenery-444.jpg");
    let (mut at, mut found) = (2, Vec::new());
    while bytes[at + 1] != 0xda {
        let end = at + 2 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
        if bytes[at + 1] == wanted {
            found.push(bytes[at + 4..end].to_vec());
        }
        at = end;
    }
    found
}

/// Codes and their lengths by symbol, for each table of a segment.
fn codes(mut segment: &[u8]) -> Vec<Table> {
    let mut tables = Vec::new();
    while let Some((&class, rest)) = segment.split_first() {
        let (counts, rest) = rest.split_at(16);
        let mut symbols = rest.iter();
        let (mut table, mut code) = (vec![None; 256], 0u16);
        for (length, &count) in (1..).zip(counts) {
            for &symbol in symbols.by_ref().take(usize::from(count)) {
                table[usize::from(symbol)] = Some((code, length));
                code += 1;
            }
            code <<= 1;
        }
        segment = symbols.as_slice();
        tables.push((class, table));
    }
    tables
}
