//! Finding files on this machine and on a web server on it.

use frazil_model::recipe::parse;
use frazil_testkit::{
    lying::LyingServer,
    nginx::{Nginx, Speaks},
};

use super::*;

/// A folder with files of these names, gone at the end.
struct Made(PathBuf);

impl Made {
    fn make(names: &[&str]) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("frazil-find-{}-{number}", std::process::id()));
        for name in names {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"CDF\x01").unwrap();
        }
        Self(folder)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn sources(text: &str) -> Vec<recipe::source::Source> {
    let recipe = format!("recipe: 1\nid: x\nsources:\n  f: {{{text}}}\nwrite: zarr\n");
    parse(&recipe).unwrap().remove(0).sources
}

fn shown(files: Result<Files, EngineError>) -> String {
    use frazil_model::problem::Problem;
    match files {
        Ok(files) => {
            let one = |file: &Found| {
                let keys: String = file.keys.iter().map(|(key, value)| format!(" {key}={value}")).collect();
                format!("{}{keys}", file.name)
            };
            let mut lines: Vec<String> = files.found.iter().map(one).collect();
            lines.extend(files.absent.iter().map(|gone| format!("absent {}", gone.place.rsplit('/').next().unwrap())));
            lines.join("\n")
        }
        Err(error) => format!("error {}: {error}", error.code()),
    }
}

#[test]
fn names_do_not_depend_on_where_the_folder_lies() {
    let made = Made::make(&["2000/a.nc", "2001/b.nc"]);
    let texts: Vec<String> = ["2000/a.nc", "2001/b.nc"].map(|name| made.0.join(name).display().to_string()).into();
    let names = |texts: &[String]| -> Vec<String> {
        typed(texts, &Location::File("none".into())).unwrap().into_iter().map(|file| file.name).collect()
    };
    assert_eq!(names(&texts), ["2000/a.nc", "2001/b.nc"]);
    assert_eq!(names(&texts[..1]), ["a.nc"]);
    let web = ["http://h/x/a.nc?key=1".to_owned(), "http://h/x/a.nc?key=2".to_owned(), texts[0].clone()];
    assert_eq!(names(&web), ["http://h/x/a.nc", "http://h/x/a.nc#2", "a.nc"]);
}

#[test]
fn files_of_a_pattern_come_by_name_with_what_their_names_say() {
    let made = Made::make(&["sst.2001.nc", "sst.2000.nc", "sst.2000.nc.md5", "other.nc"]);
    let sources = sources("glob: \"*\", match: 'sst\\.(?P<year>\\d+)\\.nc'");
    assert_eq!(shown(find(&sources, &made.0, Pick::All)), "sst.2000.nc year=2000\nsst.2001.nc year=2001");
}

#[test]
fn a_list_keeps_the_order_of_its_author() {
    let made = Made::make(&["a.nc", "b.nc"]);
    assert_eq!(shown(find(&sources("list: [b.nc, a.nc]"), &made.0, Pick::All)), "b.nc\na.nc");
}

#[test]
fn a_file_that_may_be_missing_is_listed() {
    let made = Made::make(&["sst.2000.nc", "sst.2002.nc", "sst.2003.nc"]);
    let skip = sources("url: \"sst.{year}.nc\", keys: {year: 1999..2003}, missing: skip");
    assert_eq!(
        shown(find(&skip, &made.0, Pick::All)),
        "sst.2000.nc year=2000\nsst.2002.nc year=2002\nsst.2003.nc year=2003\nabsent sst.1999.nc\nabsent sst.2001.nc"
    );
    let pruned = Pick::Ends { first: 1, last: 1 };
    assert_eq!(shown(find(&skip, &made.0, pruned)), "sst.2000.nc year=2000\nsst.2003.nc year=2003\nabsent sst.1999.nc");
    let none = sources("url: \"x{year}.nc\", keys: {year: 1999..2003}, missing: skip");
    assert!(shown(find(&none, &made.0, Pick::All)).starts_with("error source.no-files: source `f`"));
}

#[test]
fn a_pruned_run_takes_the_ends() {
    for (first, last, n_files, expected) in [
        (2, 0, 5, vec![0, 1]),
        (2, 1, 5, vec![0, 1, 4]),
        (4, 4, 5, vec![0, 1, 2, 3, 4]),
        (0, 2, 5, vec![3, 4]),
        (u64::MAX, u64::MAX, 2, vec![0, 1]),
        (2, 1, 0, vec![]),
    ] {
        assert_eq!(Pick::Ends { first, last }.of(n_files), expected);
    }
}

#[test]
fn a_page_of_links_gives_the_files_below_it() {
    let page = "<a href='../'>Parent</a><a href='sst.2000.nc'>x</a><a href='/honest/d/sst.2001.nc'>x</a>\
        <a href='sst.2000.nc.md5'>x</a><a href='http://elsewhere/sst.2002.nc'>x</a>";
    let files = [("2000/", page), ("2001/", "<html>"), ("2002/", "<a href='sst.2002.nc'>x</a>")];
    let server = LyingServer::start(files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).into());
    let address = server.address("honest", "{year}/");
    let with = |years: &str, missing: &str| {
        let text = format!(
            "index: \"{address}\", keys: {{year: {years}}}, match: 'sst\\.(?P<time>\\d+)\\.nc', parse: {{time: \"%Y\"}}, missing: {missing}"
        );
        shown(find(&sources(&text), Path::new(""), Pick::All)).replace(&server.host(), "HOST")
    };
    assert_eq!(
        with("[2000, 2002]", "error"),
        "http://HOST/honest/2000/sst.2000.nc time=2000-01-01 year=2000\n\
         http://HOST/honest/2002/sst.2002.nc time=2002-01-01 year=2002"
    );
    assert!(with("2000..2002", "error").starts_with("error source.no-match: nothing at `http://HOST/honest/2001/`"));
    assert!(with("[2000, 1999]", "error").starts_with("error store.not-found: there is no `http://HOST/honest/1999/`"));
    assert!(with("1999..2002", "skip").contains("2002.nc"));
}

#[test]
fn absent_files_of_a_web_server_are_listed_if_they_may_be() {
    let server = LyingServer::start([("a.2001.nc".to_owned(), b"CDF\x01".to_vec())].into());
    let text = format!(
        "url: \"{}\", keys: {{year: 2000..2002}}, missing: skip, fetch: {{per_host: 2}}",
        server.address("honest", "a.{year}.nc")
    );
    let found = shown(find(&sources(&text), Path::new(""), Pick::All)).replace(&server.host(), "HOST");
    assert_eq!(found, "http://HOST/honest/a.2001.nc year=2001\nabsent a.2000.nc\nabsent a.2002.nc");
    assert_eq!(server.requests("honest", "a.2001.nc"), ["HEAD"]);
}

#[test]
fn what_cannot_be_searched_is_refused_at_its_line() {
    let here = Path::new("");
    let refused = |text| shown(find(&sources(text), here, Pick::All));
    assert!(
        refused("glob: \"http://h/*.nc\"").starts_with("error recipe.bad-value: line 4"),
        "{}",
        refused("glob: \"http://h/*.nc\"")
    );
    assert!(refused("index: \"data/\"").starts_with("error recipe.bad-value: line 4"));
}

#[test]
fn the_listing_of_a_real_server_is_read() {
    let made = Made::make(&["2000/sst a.1.nc", "2000/sst&b.2.nc", "2000/notes.txt", "2000/sub/sst.3.nc"]);
    let Some(server) = Nginx::start(&made.0, Speaks::Http) else { return };
    let text = format!("index: \"{}/2000/\", match: 'sst.*\\.(?P<n>\\d+)\\.nc'", server.address());
    let found = shown(find(&sources(&text), Path::new(""), Pick::All)).replace(server.address(), "HOST");
    assert_eq!(found, "HOST/2000/sst%20a.1.nc n=1\nHOST/2000/sst%26b.2.nc n=2");
    // Without the slash, the server sends us to the folder.
    let text = text.replace("2000/\"", "2000\"");
    let again = shown(find(&sources(&text), Path::new(""), Pick::All)).replace(server.address(), "HOST");
    assert_eq!(again, found);
}
