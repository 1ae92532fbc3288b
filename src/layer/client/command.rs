//! The environment of a child process: an allowlist instead of everything that the parent knows (S23).
//!
//! A server that is started as a child must not inherit its client's secrets: API keys, cloud credentials and
//! agent sockets live in environment variables.

use std::ffi::{OsStr, OsString};

use tokio::process::Command;

/// The variables that a child process inherits: what a program needs to find files, a locale and a home.
///
/// The list is that of the MCP reference SDKs; everything else takes
/// [`pass_env`](super::VerifiedClientBuilder::pass_env) or [`Command::env`].
pub const PASSED_ENVIRONMENT: &[&str] = if cfg!(windows) {
    &[
        "APPDATA",
        "HOMEDRIVE",
        "HOMEPATH",
        "LOCALAPPDATA",
        "PATH",
        "PATHEXT",
        "PROCESSOR_ARCHITECTURE",
        "PROGRAMFILES",
        "SystemDrive",
        "SystemRoot",
        "TEMP",
        "TMP",
        "USERNAME",
        "USERPROFILE",
    ]
} else {
    &["HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"]
};

/// Clears the child's environment down to [`PASSED_ENVIRONMENT`], `extra`, and what was set on `command` itself.
pub(super) fn restrict_environment(command: &mut Command, extra: &[OsString]) {
    let explicit: Vec<(OsString, Option<OsString>)> =
        command.as_std().get_envs().map(|(name, value)| (name.to_owned(), value.map(OsStr::to_owned))).collect();
    command.env_clear();
    for name in PASSED_ENVIRONMENT.iter().map(OsStr::new).chain(extra.iter().map(OsString::as_os_str)) {
        if let Some(value) = std::env::var_os(name).filter(|value| !is_shell_function(value)) {
            command.env(name, value);
        }
    }
    for (name, value) in explicit {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

/// Whether a shell would define a function from this value (the vector of CVE-2014-6271).
fn is_shell_function(value: &OsStr) -> bool {
    value.as_encoded_bytes().starts_with(b"()")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(command: &Command) -> Vec<String> {
        let mut names: Vec<String> = command
            .as_std()
            .get_envs()
            .filter(|(_, value)| value.is_some())
            .map(|(name, _)| name.to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Stops a child server from reading its client's secrets out of the environment.
    #[test]
    fn s23_a_child_inherits_the_allowlist_and_what_was_named() {
        // cargo sets both for every test
        let mut command = Command::new("server");
        command.env("EXPLICIT", "1").env_remove("PATH");
        restrict_environment(&mut command, &[OsString::from("CARGO_PKG_NAME")]);
        let names = environment(&command);
        assert!(names.contains(&"CARGO_PKG_NAME".to_owned()), "{names:?}");
        assert!(names.contains(&"EXPLICIT".to_owned()), "{names:?}");
        assert!(!names.contains(&"CARGO_MANIFEST_DIR".to_owned()), "{names:?}");
        assert!(!names.contains(&"PATH".to_owned()), "a removal on the command stands: {names:?}");
    }

    #[test]
    fn shell_functions_are_not_passed_on() {
        assert!(is_shell_function(OsStr::new("() { :; }; echo")));
        assert!(!is_shell_function(OsStr::new("/usr/bin")));
    }
}
