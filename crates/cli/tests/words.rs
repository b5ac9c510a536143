//! What people see: errors first. The command is run as they run it; nothing is read but what the test makes.

#![allow(clippy::unwrap_used)] // A test: its panic is its verdict.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

/// A folder of this test's own, gone when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("frazil-words-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn frazil(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_frazil"))
            .args(words)
            .current_dir(&self.0)
            .env("FRAZIL_CACHE", "")
            .env("NO_COLOR", "1")
            .output()
            .unwrap()
    }

    /// Exit code, stdout and stderr as one text.
    #[track_caller]
    fn check(&self, words: &[&str], expected: &str) {
        let output = self.frazil(words);
        let seen = format!(
            "{}{}exit {}\n",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            output.status.code().unwrap()
        );
        assert_eq!(seen, expected, "frazil {}\n{seen}", words.join(" "));
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A netCDF-3 file: `sst(time)` of three `short` numbers in `units`, and `time` in days.
fn netcdf3(units: &str) -> Vec<u8> {
    let mut bytes = b"CDF\x01".to_vec();
    let words = |bytes: &mut Vec<u8>, words: &[u32]| words.iter().for_each(|word| bytes.extend(word.to_be_bytes()));
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        bytes.extend(text.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    };
    words(&mut bytes, &[0, 10, 1]);
    text(&mut bytes, "time");
    words(&mut bytes, &[3, 0, 0, 11, 2]);
    let mut begins = Vec::new();
    for (name, units, kind, size) in [("time", "days since 2000-01-01", 4_u32, 12_u32), ("sst", units, 3, 8)] {
        text(&mut bytes, name);
        words(&mut bytes, &[1, 0, 12, 1]);
        text(&mut bytes, "units");
        words(&mut bytes, &[2]);
        text(&mut bytes, units);
        words(&mut bytes, &[kind, size, 0]);
        begins.push(bytes.len() - 4);
    }
    for (begin, values) in
        begins.into_iter().zip([[0_u32, 1, 2].map(u32::to_be_bytes).concat(), vec![0, 7, 0, 8, 0, 9, 0, 0]])
    {
        let at = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        bytes[begin..begin + 4].copy_from_slice(&at);
        bytes.extend(values);
    }
    bytes
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = Folder::new("absent");
    folder.check(&["inspect", "absent.nc"], "error: there is no `absent.nc`\nexit 1\n");
    folder.check(
        &["inspect", "*.nc"],
        "error: `*.nc` matches no file\n\
         hint:  patterns know `*`, `?`, `[…]` and `**`; quote them so that the shell leaves them alone\nexit 1\n",
    );
}

#[test]
fn what_is_no_data_file_is_told_by_how_it_begins() {
    let folder = Folder::new("page");
    folder.write("page.nc", b"<html>not found</html>");
    folder.check(
        &["inspect", "page.nc"],
        "error: `page.nc` could not be read\n\
         cause: not a netCDF or HDF5 file: it begins with `<`, like a web page\n\
         hint:  frazil reads netCDF-3, netCDF-4 and HDF5 files and Zarr stores\nexit 1\n",
    );
}

#[test]
fn a_file_is_described() {
    let folder = Folder::new("file");
    folder.write("sst.nc", &netcdf3("K"));
    folder.check(
        &["inspect", "sst.nc"],
        "sst.nc  netcdf3  204 B
dimensions /: time 3
variables
  time  int32  (time 3)  in one piece  big-endian  12 B (1.0×)  days since 2000-01-01
  sst   int16  (time 3)  in one piece  big-endian  6 B (1.0×)   K
time /time: 2000-01-01T00:00:00 to 2000-01-03T00:00:00, standard calendar
exit 0
",
    );
}

#[test]
fn digests_are_of_little_endian_values() {
    let folder = Folder::new("digest");
    folder.write("sst.nc", &netcdf3("K"));
    let output = folder.frazil(&["inspect", "sst.nc", "--digest", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["schema"], "frazil.inspect/1");
    assert_eq!(report["items"][1]["path"], "/sst");
    // The SHA-256 of the bytes 07 00 08 00 09 00.
    assert_eq!(report["items"][1]["digest"], "sha256:9816a620a826d82aeda8c6f996b073cfc42a747bb7caf27a8b7296f3183e06bb");
}

#[test]
fn files_that_differ_are_eras() {
    let folder = Folder::new("eras");
    for (name, units) in [("1.nc", "degC"), ("2.nc", "K"), ("3.nc", "K")] {
        folder.write(name, &netcdf3(units));
    }
    let output = folder.frazil(&["inspect", "*.nc"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with(
            "3 files and stores, 612 B\n2 eras\n  1  2 files  2.nc .. 3.nc  most files are like this\n  \
             2  1 file   1.nc          sst: units degC (not K)\n"
        ),
        "{text}"
    );
}

#[test]
fn one_bad_file_of_several_is_named_and_the_rest_described() {
    let folder = Folder::new("partly");
    folder.write("1.nc", &netcdf3("K"));
    folder.write("2.nc", &netcdf3("K")[..60]);
    let output = folder.frazil(&["inspect", "*.nc", "--json"]);
    assert_eq!(output.status.code(), Some(3));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["ok"], &report["error"]["exit"]), (&false.into(), &3.into()));
    assert!(
        report["items"].as_array().unwrap().iter().any(|item| item["source"] == "2.nc" && item["unread"].is_string())
    );
}

#[test]
fn a_wrong_word_is_exit_2_and_one_report() {
    let folder = Folder::new("usage");
    for words in
        [&["conver"][..], &["convert", "in.nc"], &["inspect", "--wrong"], &["convert", "a", "b", "--to", "gold"]]
    {
        let output = folder.frazil(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(output.stdout.is_empty() && output.stderr.starts_with(b"error:"), "{words:?}");
    }
    let output = folder.frazil(&["inspect", "--wrong", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["error"]["code"], &report["error"]["exit"]), (&"usage".into(), &2.into()));
}

#[test]
fn a_wrong_value_says_how_it_is_written() {
    let folder = Folder::new("value");
    let output = folder.frazil(&["convert", "a", "b", "--to", "zarr", "--chunks", "time=0"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("a chunk's length is a whole number above 0, or `full`, not `0`"), "{text}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_recipe_is_checked_line_by_line() {
    let folder = Folder::new("lint");
    folder.write("feedstock/recipe.yaml", b"recipe: 1\nid: sst\nsuorces: []\n");
    let output = folder.frazil(&["feedstock", "lint", "."]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("line 3, column 1") && text.contains("3 | suorces: []\n  | ^"), "{text}");
    assert!(output.stderr.starts_with(b"error: `./feedstock/recipe.yaml` has "));
    assert_eq!(output.status.code(), Some(2));
    folder.check(
        &["feedstock", "lint", "absent"],
        "error: `absent` could not be read\ncause: No such file or directory (os error 2)\n\
         hint:  name the folder of a feedstock, or its recipe file\nexit 2\n",
    );
}

#[test]
fn a_closed_pipe_is_no_error() {
    let folder = Folder::new("pipe");
    folder.write("sst.nc", &netcdf3("K"));
    let words = format!("'{}' inspect sst.nc | true", env!("CARGO_BIN_EXE_frazil"));
    let output = Command::new("sh").args(["-c", &words]).current_dir(&folder.0).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
