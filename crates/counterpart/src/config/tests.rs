//! Which source wins, and what is refused.

use std::path::Path;

use clap::{Args, FromArgMatches};
use proptest::prelude::*;

use super::*;

fn flags(args: &[&str]) -> Flags {
    let command = Flags::augment_args(clap::Command::new("serve"));
    let matches = command.try_get_matches_from([&["serve"], args].concat()).unwrap();
    Flags::from_arg_matches(&matches).unwrap()
}

fn loaded(args: &[&str], variables: &[(&str, &str)]) -> Result<Settings, Failure> {
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    load_with(&flags(args), variables)?.settings()
}

#[test]
fn a_flag_outranks_the_environment_that_the_file_that_the_default() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    std::fs::write(
        &file,
        "data = \"f\"\nstream-idle = \"1s\"\nlog = \"json\"\nrequire-mirror = true\n",
    )
    .unwrap();
    let settings = loaded(
        &["--config", file.to_str().unwrap(), "--data", "flag"],
        &[("COUNTERPART_DATA", "env"), ("COUNTERPART_STREAM_IDLE", "2s"), ("HOME", "/")],
    )
    .unwrap();
    assert_eq!(settings.data, Path::new("flag"));
    assert_eq!(settings.stream_idle.as_secs(), 2);
    assert_eq!(settings.log, LogFormat::Json);
    assert!(settings.require_mirror);
    assert_eq!(settings.partner_timeout.as_secs(), 10);
    assert_eq!(settings.reader_max_age, None);
    assert_eq!(settings.reader_max_wal, 4 << 30);
}

#[test]
fn the_file_can_be_named_by_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    std::fs::write(&file, "data = \"f\"\nretention-bytes = 4096").unwrap();
    let settings = loaded(&[], &[("COUNTERPART_CONFIG", file.to_str().unwrap())]).unwrap();
    assert_eq!(settings.retention_bytes, 4096);
}

#[test]
fn a_switch_stands_alone_or_with_a_value() {
    assert!(loaded(&["--data", "d", "--insecure"], &[]).unwrap().insecure);
    assert!(
        !loaded(&["--data", "d", "--insecure=off"], &[("COUNTERPART_INSECURE", "on")])
            .unwrap()
            .insecure
    );
}

#[test]
fn each_bad_value_is_refused_with_its_name_and_origin() {
    for (name, text) in [
        ("listen", "6480"),
        ("listen", "example.org:80"),
        ("partner-listen", "1.2.3.4:x"),
        ("advertise", "db1:6480"),
        ("advertise", "http://db1/path"),
        ("partner-advertise", "db1"),
        ("partner-advertise", "db1:0"),
        ("foreign-keys", "maybe"),
        ("partner-timeout", "300ms"),
        ("partner-timeout", "ten"),
        ("stream-idle", "0"),
        ("max-request-bytes", "12"),
        ("max-result-bytes", "big"),
        ("checkpoint-bytes", "1KiB"),
        ("log", "xml"),
        ("log-level", "loud"),
    ] {
        let flag = format!("--{name}={text}");
        let failure = loaded(&["--data", "d", &flag], &[]).unwrap_err();
        assert_eq!(
            (failure.exit, failure.code.as_str()),
            (Exit::Usage, "CONFIG_INVALID"),
            "{flag}"
        );
        assert!(failure.what.starts_with(&format!("{name} (from --{name}): ")), "{}", failure.what);
    }
}

#[test]
fn addresses_that_others_can_reach_need_the_operators_word() {
    for flag in ["--listen=0.0.0.0:1", "--partner-listen=10.0.0.1:1", "--listen=[::]:1"] {
        assert_eq!(
            loaded(&["--data", "d", flag], &[]).unwrap_err().code,
            "INSECURE_ADDRESS",
            "{flag}"
        );
    }
    assert!(loaded(&["--data=d", "--insecure", "--partner-listen=10.0.0.1:1"], &[]).is_ok());
    let vague = ["--data=d", "--insecure", "--listen=0.0.0.0:1"];
    assert!(loaded(&vague, &[]).unwrap_err().remedy.contains("--advertise"));
    assert!(loaded(&[&vague[..], &["--advertise=https://db1:1"]].concat(), &[]).is_ok());
}

#[test]
fn clients_of_other_machines_are_served_with_tls_and_tokens_and_partners_are_not() {
    let at = |more: &[&str]| loaded(&[&["--data=d", "--listen=10.0.0.1:1"], more].concat(), &[]);
    assert!(at(&["--require-token"]).unwrap().uses_tls());
    for (more, why, remedy) in [
        (&[][..], "nobody has to log in", "add --require-token"),
        (&["--require-token", "--tls=off"], "nothing is encrypted", "take away --tls off"),
        (&["--tls=off"], "nothing is encrypted and nobody", "--tls off and add --require-token"),
    ] {
        let failure = at(more).unwrap_err();
        assert_eq!(failure.code, "INSECURE_ADDRESS");
        assert!(failure.what.contains(why) && failure.remedy.contains(remedy), "{failure}");
        assert!(failure.remedy.contains("--insecure"), "{failure}");
    }
    let failure = at(&["--require-token", "--partner-listen=10.0.0.1:2"]).unwrap_err();
    assert_eq!(failure.code, "INSECURE_ADDRESS");
    assert!(failure.what.contains("partners do not use TLS"), "{failure}");
}

#[test]
fn what_insecure_exposes_is_told() {
    let exposed = |more: &[&str]| {
        let all = [&["--data=d", "--insecure"], more].concat();
        loaded(&all, &[]).unwrap().exposed().len()
    };
    let (clients, partners) = ("--listen=10.0.0.1:1", "--partner-listen=10.0.0.1:2");
    assert_eq!(exposed(&[]), 0);
    assert_eq!(exposed(&[clients, "--require-token"]), 0);
    assert_eq!(exposed(&[clients]), 1);
    assert_eq!(exposed(&[clients, "--tls=off"]), 2);
    assert_eq!(exposed(&[clients, partners, "--tls=off"]), 3);
}

#[test]
fn tls_is_used_where_others_listen_or_where_it_is_asked_for() {
    let scheme = |more: &[&str]| loaded(&[&["--data=d"], more].concat(), &[]).map(|s| s.scheme());
    let files = ["--tls-cert=c", "--tls-key=k"];
    assert_eq!(scheme(&[]), Ok("http"));
    assert_eq!(scheme(&["--tls=on"]), Ok("https"));
    assert_eq!(scheme(&files), Ok("https"));
    assert_eq!(scheme(&["--listen=10.0.0.1:1", "--insecure", "--tls=off"]), Ok("http"));
    for (wrong, named) in [
        (&["--tls-cert=c"][..], "--tls-key"),
        (&["--tls-key=k"], "--tls-cert"),
        (&["--tls=off", files[0], files[1]], "leave out one"),
        (&["--tls=maybe"], "auto or on or off"),
        (&["--tls=on", "--advertise=http://db1:1"], "https://"),
    ] {
        let failure = scheme(wrong).unwrap_err();
        assert_eq!((failure.exit, failure.code.as_str()), (Exit::Usage, "CONFIG_INVALID"));
        assert!(failure.remedy.contains(named), "{failure}");
    }
    // A proxy in front of a server may speak TLS for it.
    assert_eq!(scheme(&["--advertise=https://db1:1"]), Ok("http"));
}

#[test]
fn the_address_that_is_advertised_by_default_says_whether_it_is_tls() {
    let advertised = |args: &[&str]| {
        let resolved = load_with(&flags(args), []).unwrap();
        let entry = resolved.entries().find(|entry| entry.key == Key::Advertise).unwrap();
        entry.text.unwrap()
    };
    assert_eq!(advertised(&[]), "http://127.0.0.1:6480");
    assert_eq!(advertised(&["--tls=on"]), "https://127.0.0.1:6480");
}

#[test]
fn a_missing_data_directory_is_named() {
    assert_eq!(loaded(&[], &[]).unwrap_err().code, "DATA_DIRECTORY_MISSING");
}

#[test]
fn a_file_that_is_wrong_is_refused_with_its_place() {
    let path = Path::new("x.toml");
    for (text, part) in [
        ("data = \"d\"\npartner_timeout = \"5s\"", "unknown key \"partner_timeout\""),
        ("data = [1]", "data in x.toml is neither"),
        ("[serve]\ndata = \"d\"", "unknown key \"serve\""),
        ("data = \"d\"\nlisten = ", "x.toml is not TOML, line 2"),
    ] {
        let failure = layer::from_toml(text, path).unwrap_err();
        assert!(failure.what.contains(part), "{}", failure.what);
    }
    let missing = loaded(&["--config", "/does/not/exist.toml"], &[]).unwrap_err();
    assert_eq!(missing.code, "CONFIG_UNREADABLE");
}

#[test]
fn every_setting_has_its_own_variable_and_flag() {
    let names: std::collections::BTreeSet<_> = Key::ALL.map(Key::variable).into();
    assert_eq!(names.len(), Key::ALL.len());
    for key in Key::ALL {
        assert_eq!(Key::named(key.row().name), Some(key));
    }
}

proptest! {
    #[test]
    fn no_file_makes_the_reader_panic(text in ".*") {
        if let Err(failure) = layer::from_toml(&text, Path::new("x.toml")) {
            prop_assert!(failure.what.contains("x.toml"), "{}", failure.what);
        }
    }

    #[test]
    fn no_value_makes_the_checks_panic(key in 0usize..Key::ALL.len(), value in ".*") {
        let name = Key::ALL[key].variable();
        if let Err(failure) = loaded(&["--data", "d"], &[(&name, &value)]) {
            prop_assert!(failure.what.contains(&name), "{}", failure.what);
        }
    }

    #[test]
    fn what_a_file_says_is_what_is_resolved(seconds in 1u64..1_000_000, bytes in 1u64 << 20..1 << 40) {
        let text = format!("data = \"d\"\npartner-timeout = \"{seconds}s\"\ncheckpoint-bytes = {bytes}\n");
        let layer = layer::from_toml(&text, Path::new("x.toml")).unwrap();
        let settings = Resolved::new(&[layer]).settings().unwrap();
        prop_assert_eq!(settings.partner_timeout.as_secs(), seconds);
        prop_assert_eq!(settings.checkpoint_bytes, bytes);
    }
}
