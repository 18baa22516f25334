/** Tables as CSV files. */

const FORMULA = /^[=+\-@\t\r\n＝＋－＠]/;

/** A cell: quoted where it must be; text that a spreadsheet would run as a formula gets an apostrophe. */
export function cell(value) {
  if (value === null || value === undefined) return '';
  const text = typeof value === 'string' && FORMULA.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Rows as a file's text: CRLF between lines, as RFC 4180 has it. */
export const csv = (rows) => rows.map((row) => `${row.map(cell).join(',')}\r\n`).join('');

/** Hands the rows to the browser as a file; the first row holds the columns' names. */
export function download(name, rows) {
  // The mark tells spreadsheets that this is UTF-8.
  const url = URL.createObjectURL(new Blob(['\uFEFF', csv(rows)], { type: 'text/csv;charset=utf-8' }));
  const link = document.createElement('a');
  link.href = url;
  link.download = `${name.replace(/[^\w.-]+/g, '-')}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
