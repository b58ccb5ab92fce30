//! What the documents list is what the code has.

#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

use std::path::{Path, PathBuf};

use common::config::markdown_table;
use common::problem::ErrorCode;

fn path(document: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(document)
}

fn read(document: &str) -> String {
    std::fs::read_to_string(path(document)).unwrap()
}

/// Asserts that a document shows `table` between its marks `<!-- begin NAME -->` and `<!-- end NAME -->`; writes it there
/// instead where `UPDATE_DOCUMENTS` is set.
#[track_caller]
fn has_table(document: &str, name: &str, table: &str) {
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
    let text = read(document);
    let (head, rest) = text.split_once(&begin).unwrap();
    let (shown, tail) = rest.split_once(&end).unwrap();
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        std::fs::write(path(document), format!("{head}{begin}{table}{end}{tail}")).unwrap();
    } else {
        assert_eq!(shown, table, "{document}: run `UPDATE_DOCUMENTS=1 cargo test -p e2e --test documents`");
    }
}

#[test]
fn readme_lists_every_setting_as_the_code_has_it() {
    // One after the other: both are in one file, which may have to be rewritten.
    has_table("README.md", "gateway settings", &markdown_table(gateway::config::SETTINGS));
    has_table("README.md", "core-api settings", &markdown_table(core_api::config::SETTINGS));
    has_table("docs/PAYMENTS.md", "sandbox-provider settings", &markdown_table(sandbox_provider::config::SETTINGS));
}

#[test]
fn settings_that_both_services_read_are_told_alike() {
    for setting in gateway::config::SETTINGS {
        if let Some(same) = core_api::config::SETTINGS.iter().find(|other| other.name == setting.name) {
            assert_eq!(same.default, setting.default, "{}", setting.name);
        }
    }
}

#[test]
fn the_list_of_errors_is_the_catalogue() {
    let mut table = String::from("| `error` | Status | Title | English | 한국어 |\n|---|---|---|---|---|\n");
    for code in ErrorCode::ALL {
        let sentence = code.sentence();
        let row = format!(
            "| `{}` | {} | {} | {} | {} |\n",
            code.as_str(),
            code.status().as_u16(),
            code.title(),
            sentence.en,
            sentence.ko
        );
        table.push_str(&row);
    }
    has_table("docs/ERRORS.md", "errors", &table);
}

#[test]
fn the_guide_to_monitoring_lists_every_metric_as_the_code_has_it() {
    use common::metrics::markdown_table as table;
    // One after the other: all are in one file, which may have to be rewritten.
    has_table("docs/MONITORING.md", "common metrics", &table(common::metrics::METRICS));
    has_table("docs/MONITORING.md", "redis metrics", &table(lua::METRICS));
    has_table("docs/MONITORING.md", "gateway metrics", &table(gateway::metrics::METRICS));
    has_table("docs/MONITORING.md", "core-api metrics", &table(core_api::metrics::METRICS));
}

#[test]
fn documents_name_files_that_exist() {
    let docs = std::fs::read_dir(path("docs")).unwrap().map(|entry| entry.unwrap().path());
    let documents = docs
        .filter(|file| file.extension().is_some_and(|extension| extension == "md"))
        .map(|file| format!("docs/{}", file.file_name().unwrap().display()));
    for document in &documents.chain(["README.md".to_owned()]).collect::<Vec<_>>() {
        let text = read(document);
        let folder = path(document).parent().unwrap().to_path_buf();
        for link in
            text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|link| !link.contains("://"))
        {
            let file = link.split('#').next().unwrap_or_default();
            assert!(file.is_empty() || folder.join(file).exists(), "{document} links to {link}, which is not there");
        }
    }
}
