//! The ready files for managers are in the language that these read.

use std::fs;
use std::path::Path;

#[test]
fn every_file_can_be_read() {
    let (mut tables, mut objects) = (0, 0);
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("install")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        match path.extension().and_then(|end| end.to_str()) {
            Some("toml" | "conf") => {
                if let Err(error) = text.parse::<toml::Table>() {
                    panic!("{}: {error}", path.display());
                }
                tables += 1;
            }
            Some("json") => {
                if let Err(error) = serde_json::from_str::<serde_json::Value>(&text) {
                    panic!("{}: {error}", path.display());
                }
                objects += 1;
            }
            _ => {}
        }
    }
    assert!(tables >= 5 && objects >= 2, "{tables} {objects}");
}
