//! `advise`: what could be better about the database.

use anyhow::Result;
use mediamesh_mesh::admin::report::Report;
use mediamesh_store::{
    Advisor,
    advise::{Finding, Mended},
};
use serde_json::json;

use super::{
    table::table,
    top::{addresses, ask},
};
use crate::{cli::Advise, config::Config, data_dir::DataDir, import::screen::say, stores::Stores};

/// Statements of one operation from which on they are probably one for each row.
const MANY_STATEMENTS: f64 = 30.0;

pub(super) async fn run(args: Advise, config: &Config) -> Result<()> {
    let dir = DataDir::locate(config.data_dir.as_deref())?;
    if config.database.url.is_none() && !dir.database().try_exists().unwrap_or(true) {
        anyhow::bail!("there is no database yet; `mediamesh up` makes it at its first start");
    }
    let stores = Stores::open(&config.database, &dir, None).await?;
    let advisor = &*stores.advisor;
    match &args.statement {
        Some(statement) => explain(advisor, statement, &args).await,
        None => look(advisor, &args, config).await,
    }
}

async fn explain(advisor: &dyn Advisor, statement: &str, args: &Advise) -> Result<()> {
    let plan = advisor.explain(statement, args.run).await?;
    if args.json {
        let plan = json!({ "plan": plan.text, "advice": plan.advice });
        say(&serde_json::to_string_pretty(&plan)?);
        return Ok(());
    }
    say(&plan.text);
    for advice in &plan.advice {
        say(&format!("- {advice}"));
    }
    if plan.advice.is_empty() {
        say("nothing that is seen from the plan could be better");
    }
    Ok(())
}

async fn look(advisor: &dyn Advisor, args: &Advise, config: &Config) -> Result<()> {
    let mut findings = advisor.findings().await?;
    findings.extend(one_for_each_row(config).await);
    let mended = match args.apply {
        true => advisor.mend(&findings).await,
        false => Vec::new(),
    };
    if args.json {
        let finding = |finding: &Finding| json!({ "subject": finding.subject, "advice": finding.advice, "mend": finding.mend });
        let mend =
            |mended: &Mended| json!({ "statement": mended.statement, "error": mended.error });
        let all = json!({
            "findings": findings.iter().map(finding).collect::<Vec<_>>(),
            "mended": mended.iter().map(mend).collect::<Vec<_>>(),
        });
        say(&serde_json::to_string_pretty(&all)?);
    } else if findings.is_empty() {
        say("nothing was found that could be better");
    } else {
        let mut rows = table(["about", "what could be better", "mended by"]);
        for finding in &findings {
            rows.add_row([&finding.subject, &finding.advice, &finding.mend]);
        }
        say(&rows.to_string());
    }
    for mended in mended.iter().filter(|_| !args.json) {
        match &mended.error {
            None => say(&format!("done: {}", mended.statement)),
            Some(error) => say(&format!("failed: {}: {error}", mended.statement)),
        }
    }
    let failed = mended
        .iter()
        .filter(|mended| mended.error.is_some())
        .count();
    anyhow::ensure!(failed == 0, "{failed} of {} were not mended", mended.len());
    Ok(())
}

/// Operations with so many statements that they are one for each row, as a running mesh counts them.
async fn one_for_each_row(config: &Config) -> Vec<Finding> {
    let Ok(addresses) = addresses(&[], config) else {
        return Vec::new();
    };
    let Ok(http) = reqwest::Client::builder()
        .timeout(std::time::Duration::from_secs(2))
        .build()
    else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for address in addresses {
        // one that does not run, or asks who asks, tells nothing
        let key = std::env::var("MEDIAMESH_API_KEY").ok();
        let report: Result<Report> = ask(&http, &address, "/admin/report", key.as_deref()).await;
        let Ok(report) = report else { continue };
        let many = report.operations.into_iter();
        findings.extend(
            many.filter(|one| one.statements >= MANY_STATEMENTS)
                .map(|one| Finding {
                    advice: format!(
                        "it takes {:.0} statements on average, probably one for each row",
                        one.statements
                    ),
                    subject: one.name,
                    mend: String::new(),
                }),
        );
    }
    findings
}
