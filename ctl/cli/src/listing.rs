//! What every listing offers: a table, a template, ids alone, JSON.

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::failure::Usage;
use crate::table::Table;
use crate::template::Template;
use crate::{natural, output};

/// The flags that every listing shares.
#[derive(Debug, Clone, Args)]
pub(crate) struct ListArgs {
    /// Print the daemon's answer as one JSON array
    #[arg(long, conflicts_with_all = ["format", "quiet"])]
    pub(crate) json: bool,
    /// 'json' (one object a line), 'table TEMPLATE' or a template such as '{{.Name}} {{.ID}}'
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Print ids alone
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print ids, names and commands in full
    #[arg(long)]
    pub(crate) no_trunc: bool,
}

/// A kind of object that can be listed.
pub(crate) trait Listed: Serialize {
    /// Name of the field in templates, and its header in tables.
    const FIELDS: &'static [(&'static str, &'static str)];
    /// The table that is printed without `--format`.
    const TABLE: &'static str;

    /// The fields' values, in the order of [`Self::FIELDS`].
    fn values(&self, no_trunc: bool) -> Vec<String>;
    /// What `-q` prints.
    fn id(&self) -> &str;
    /// The same unless in full.
    fn short_id(&self) -> &str {
        output::short(self.id())
    }
    /// What the listing is sorted by.
    fn sort_key(&self) -> &str;
}

/// Print `objects` as `args` ask.
pub(crate) fn print<T: Listed>(mut objects: Vec<T>, args: &ListArgs) -> anyhow::Result<()> {
    objects.sort_by(|a, b| natural::compare(a.sort_key(), b.sort_key()));
    if args.json {
        return output::json(&objects);
    }
    if args.quiet {
        let ids = objects.iter().map(|object| if args.no_trunc { object.id() } else { object.short_id() });
        return Ok(output::print(&ids.map(|id| format!("{id}\n")).collect::<String>())?);
    }
    Ok(output::print(&render(&objects, args.format.as_deref().unwrap_or(T::TABLE), args.no_trunc)?)?)
}

/// The objects as `format` has them.
pub(crate) fn render<T: Listed>(objects: &[T], format: &str, no_trunc: bool) -> Result<String, Usage> {
    let rows = objects.iter().map(|object| record::<T>(object.values(no_trunc)));
    if format == "json" {
        return Ok(rows.map(|row| format!("{row}\n")).collect());
    }
    let headers = record::<T>(T::FIELDS.iter().map(|(_, header)| (*header).to_owned()));
    let Some(format) = format.strip_prefix("table ").or((format == "table").then_some(T::TABLE)) else {
        let template: Template = format.parse()?;
        // A wrong field is refused even where there is nothing to list.
        template.render(&headers)?;
        return rows.map(|row| template.render(&row).map(|line| line + "\n")).collect();
    };
    let columns = format.trim_start_matches("table ").trim().parse::<Template>()?.columns();
    let cells = |row: &Value| columns.iter().map(|column| column.render(row)).collect::<Result<Vec<_>, _>>();
    let mut table = Table::new(cells(&headers)?);
    for row in rows {
        table.row(cells(&row)?);
    }
    Ok(table.render())
}

fn record<T: Listed>(values: impl IntoIterator<Item = String>) -> Value {
    let names = T::FIELDS.iter().map(|(name, _)| (*name).to_owned());
    Value::Object(names.zip(values.into_iter().map(Value::String)).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Pet(&'static str);

    impl Listed for Pet {
        const FIELDS: &'static [(&'static str, &'static str)] = &[("ID", "PET ID"), ("Name", "NAME")];
        const TABLE: &'static str = r"table {{.ID}}\t{{.Name}}";
        fn values(&self, no_trunc: bool) -> Vec<String> {
            vec![if no_trunc { "1234" } else { "12" }.into(), self.0.into()]
        }
        fn id(&self) -> &str {
            "1234"
        }
        fn sort_key(&self) -> &str {
            self.0
        }
    }

    /// The default table, a chosen table, lines and JSON all show the same fields.
    #[test]
    fn formats() {
        let pets = [Pet("cat"), Pet("dog")];
        assert_eq!(render(&pets, Pet::TABLE, false).unwrap(), "PET ID   NAME\n12       cat\n12       dog\n");
        assert_eq!(render(&pets, "table", true).unwrap(), "PET ID   NAME\n1234     cat\n1234     dog\n");
        assert_eq!(render(&pets, "table {{.Name}}", false).unwrap(), "NAME\ncat\ndog\n");
        assert_eq!(render(&pets, "a {{.Name}}", false).unwrap(), "a cat\na dog\n");
        assert_eq!(render(&pets[..1], "json", false).unwrap(), "{\"ID\":\"12\",\"Name\":\"cat\"}\n");
    }

    /// A wrong field is refused also where there is nothing to list.
    #[test]
    fn wrong_field() {
        let none: [Pet; 0] = [];
        assert!(render(&none, "{{.Nme}}", false).unwrap_err().0.contains("known there are .ID .Name"));
        assert!(render(&none, "table {{.Nme}}", false).is_err());
    }
}
