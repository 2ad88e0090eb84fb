//! Reads the tables: comma-separated values with a header line and quoted fields.

/// The rows below the header, each as long as the header.
pub(crate) fn rows(text: &str) -> impl Iterator<Item = Vec<String>> + '_ {
    let width = text.lines().next().map_or(0, |line| fields(line).len());
    text.lines().skip(1).filter(|line| !line.trim().is_empty()).map(move |line| {
        let mut fields = fields(line);
        fields.resize(width, String::new());
        fields
    })
}

fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_commas_and_short_rows_are_filled() {
        let read: Vec<_> = rows("a,b,c\n1,\"x, y\",3\n\n2\n").collect();
        assert_eq!(read, [vec!["1", "x, y", "3"], vec!["2", "", ""]]);
    }
}
