//! Writes a photograph that nobody took: `photograph WIDTH HEIGHT BYTES FILE`.
#![allow(clippy::unwrap_used, reason = "a tool for scripts")]

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [width, height, bytes, file] = args.as_slice() else { panic!("photograph WIDTH HEIGHT BYTES FILE") };
    let photograph =
        shoal_loadtest::photograph::jpeg(width.parse().unwrap(), height.parse().unwrap(), bytes.parse().unwrap(), 1);
    std::fs::write(file, photograph.unwrap()).unwrap();
}
