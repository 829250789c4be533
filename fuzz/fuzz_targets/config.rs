#![no_main]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use libfuzzer_sys::fuzz_target;
use popfetch::config::{self, Flags, Source};
use popfetch_fuzz::{assert_printable, choice};

fuzz_target!(|data: &[u8]| {
    let Some((first, text)) = choice(data) else { return };
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join(if first % 2 == 0 { "c.toml" } else { "c.json" });
    fs::write(&path, text).expect("a file can be written");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a mode can be set");
    if let Err(error) = config::accounts(&[Source::Path(path)], &Flags::default(), &[]) {
        assert_printable(&error.to_string());
        error.reports().iter().flat_map(|report| report.lines()).for_each(assert_printable);
    }
});
