/** Tables as CSV files. */

// A spreadsheet splits cells at its own separator, which is `;` in many countries, and may trim
// spaces. Quotes protect a cell only where it begins with one, so every part may begin a cell.
const FORMULA = /^(?:["\s]*[=+\-@＝＋－＠]|[\t\r\n])/;
const FORMULA_INSIDE = /[;|\t\r\n](?=["\s]*[=+\-@＝＋－＠])|[;|](?=[\t\r\n])/g;

const guarded = (text) =>
  `${FORMULA.test(text) ? "'" : ''}${text.replace(FORMULA_INSIDE, "$&'")}`;

/** A cell: quoted if necessary. Text that a spreadsheet would run as a formula gets an apostrophe. */
export function cell(value) {
  if (value === null || value === undefined) return '';
  const text = typeof value === 'number' ? String(value) : guarded(String(value));
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Rows as a file's text, with CRLF as in RFC 4180. */
export const csv = (rows) => rows.map((row) => `${row.map(cell).join(',')}\r\n`).join('');

/** Downloads the rows as a file. The first row has the column names. */
export function download(name, rows) {
  // The byte order mark tells spreadsheets that this is UTF-8.
  const url = URL.createObjectURL(new Blob(['\uFEFF', csv(rows)], { type: 'text/csv;charset=utf-8' }));
  const link = document.createElement('a');
  link.href = url;
  link.download = `${name.replace(/[^\w.-]+/g, '-')}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
