//! `config`: what is wrong with a configuration file.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use rmcp_guard::enforce::{ConfigError, GuardConfig};
use rmcp_guard::evidence::EvidenceLog;
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::network::NetworkArgs;
use crate::output::{Output, note};

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Load a configuration file and report every mistake in it.
    ///
    /// The files that it names are read, and the evidence directory stays untouched.
    #[command(after_help = "EXAMPLE:\n  rmcp-guard config check guard.toml")]
    Check {
        /// The TOML file; not standard input, since paths in it start at its directory.
        file: PathBuf,
    },
}

impl ConfigCommand {
    pub(crate) fn run(&self, output: Output) -> Result<(), Failure> {
        let Self::Check { file } = self;
        let config = match GuardConfig::builder().file(file).evidence(EvidenceLog::in_memory()).build() {
            Ok(config) => config,
            Err(error) if output.is_json() => {
                let problems = error.problems().iter();
                let problems: Vec<_> =
                    problems.map(|problem| json!({ "key": problem.key, "advice": problem.advice })).collect();
                output.line(&json!({ "ok": false, "problems": problems }), "")?;
                return Err(Failure::answered().with_exit(Exit::Input));
            }
            Err(error) => return Err(failure(file, &error)),
        };
        let version = match config.policy().version() {
            "" => "(none)",
            version => version,
        };
        let json = json!({
            "ok": true,
            "policy_version": config.policy().version(),
            "digest": config.digest(),
            "warnings": config.warnings(),
        });
        if !output.is_json() {
            for warning in config.warnings() {
                note(format_args!("warning: {warning}"));
            }
        }
        output.line(&json, format_args!("ok: policy version {version}, digest {}", config.digest()))
    }
}

/// The configuration in `file`. Its evidence stays in memory: that of the real server is none of this command's business.
///
/// With `--dangerous-loopback` its issuers may be on this machine, which a file alone cannot say.
pub(crate) fn load(file: &Path, network: &NetworkArgs) -> Result<GuardConfig, Failure> {
    let mut builder = GuardConfig::builder().file(file).evidence(EvidenceLog::in_memory());
    if network.allows_loopback() {
        builder = builder.fetcher(network.fetcher()?).dangerous_dev_profile();
    }
    builder.build().map_err(|error| failure(file, &error))
}

/// A line for each mistake of a configuration.
fn failure(file: &Path, error: &ConfigError) -> Failure {
    let file = file.display().to_string();
    let problems = error.problems().iter();
    // A mistake of the file as a whole names it already.
    let lines =
        problems.map(|problem| if problem.key == file { problem.to_string() } else { format!("{file}: {problem}") });
    Failure::lines(lines.collect()).with_exit(Exit::Input)
}
