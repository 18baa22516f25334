// A sentence with a number, in the plural form of its language.

const ORDER = ["zero", "one", "two", "few", "many", "other"];

/**
 * The form of a template for `n`, with `{n}` in place of the number. `"{n} person is here|{n} people are here"` has
 * a form for one and a form for the rest; more are in the order zero, one, two, few, many, other, those that the
 * language has. A form that begins as the last one, up to the number, also ends as it:
 * `"{n} person is|{n} people are viewing this"`.
 */
export function phrase(template, n, locale) {
  const forms = template.split("|").map((form) => form.trim());
  const last = forms.at(-1);
  const rules = new Intl.PluralRules(locale);
  const category = rules.select(n);
  const categories = forms.length > 2 ? ORDER.filter((one) => rules.resolvedOptions().pluralCategories.includes(one)) : ["one"];
  const form = category === "other" ? last : (forms[categories.indexOf(category)] ?? last);
  if (!last.includes("{n}") || !form.startsWith(last.slice(0, last.indexOf("{n}") + 3))) return form;
  const words = form.split(" ");
  const all = last.split(" ");
  return [...words, ...all.slice(all.lastIndexOf(words.at(-1)) + 1 || words.length)].join(" ");
}
