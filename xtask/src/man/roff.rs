//! Text as man(7) wants it.

/// A comment of the header: paragraphs, lists with `- `, code that is indented by four, headings.
pub(super) fn text(text: &str) -> String {
    let mut page = String::new();
    let mut lines = text.lines().peekable();
    // Whether a paragraph's mark is due: there was an empty line, and text before it.
    let mut gap = false;
    while let Some(line) = lines.next() {
        if line.is_empty() {
            gap = !page.is_empty() && !page.ends_with(".EE\n.in\n");
            continue;
        }
        if let Some(heading) = line.strip_prefix("# ") {
            let heading = match heading {
                // What Rust's comments call it.
                "Safety" => "What the caller has to see to",
                other => other,
            };
            page += &format!(".SS {}\n", prose(heading));
        } else if let Some(first) = line.strip_prefix("    ") {
            let mut block = first.to_owned();
            while let Some(more) = lines.peek().and_then(|line| line.strip_prefix("    ")) {
                block = block + "\n" + more;
                lines.next();
            }
            page += &format!(".PP\n.in +4n\n{}.in\n", code(&block));
        } else if let Some(point) = line.strip_prefix("- ") {
            page += &format!(".IP \\(bu 2\n{}\n", prose(point));
        } else {
            if gap {
                page += ".PP\n";
            }
            page += &prose(line);
            page.push('\n');
        }
        gap = false;
    }
    page
}

/// Lines that stay as they are.
pub(super) fn code(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line
            .replace('\\', "\\e")
            .replace('-', "\\-")
            .replace('\'', "\\(aq")
            .replace('`', "\\(ga")
            .replace('^', "\\(ha")
            .replace('~', "\\(ti");
        guarded(line) + "\n"
    });
    format!(".EX\n{}.EE\n", lines.collect::<String>())
}

/// A line of text. What stands in backquotes is bold, and so are functions with `()`, which become
/// references to their pages.
pub(super) fn prose(line: &str) -> String {
    let mut result = String::new();
    for (index, part) in line.split('`').enumerate() {
        if index % 2 == 1 {
            result += &format!("\\fB{}\\fP", escaped(part).replace('-', "\\-"));
        } else {
            result += &with_references(part);
        }
    }
    guarded(result)
}

/// A line of text without emphasis, as programs that read the NAME section want it.
pub(super) fn plain(line: &str) -> String {
    guarded(escaped(&line.replace('`', "")))
}

fn with_references(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("()") {
        let start = before
            .rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .map_or(0, |at| at + 1);
        let (before, name) = before.split_at(start);
        result += &escaped(before);
        if name.starts_with("isahp_") || name.starts_with("ISAHP_") {
            result += &format!("\\fB{name}\\fP(3)");
        } else {
            result += &format!("{name}()");
        }
        rest = after;
    }
    result + &escaped(rest)
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('\'', "\\(aq")
        .replace('^', "\\(ha")
        .replace('~', "\\(ti")
}

/// A line that begins like a request is none.
fn guarded(line: String) -> String {
    if line.starts_with(['.', '\'']) {
        format!("\\&{line}")
    } else {
        line
    }
}
