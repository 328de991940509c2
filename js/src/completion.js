// What may stand at the cursor of a condition. The library says what is known; this only looks where the cursor is.

const WORD = /[A-Za-z_][\w.]*$/;
const MESSAGES = ["sent", "delivered", "opened", "clicked", "bounced", "complained", "unsubscribed"];

// The text in an open quote before the cursor, and the call it is an argument of.
function around(before) {
  let quote = "", start = -1;
  const calls = [];
  for (let i = 0; i < before.length; i++) {
    const letter = before[i];
    if (quote) {
      if (letter === "\\") i++;
      else if (letter === quote) quote = "";
    } else if (letter === '"' || letter === "'") {
      quote = letter;
      start = i;
    } else if (letter === "(") {
      const name = before.slice(0, i).match(/(\w+)\s*$/)?.[1] ?? "";
      calls.push({ name, opened: i, arguments: 0, event: "" });
    } else if (letter === ")") calls.pop();
    else if (letter === "," && calls.length) calls[calls.length - 1].arguments++;
    if (!quote && start >= 0 && letter === before[start] && i > start && calls.length && !calls[calls.length - 1].arguments)
      calls[calls.length - 1].event = before.slice(start + 1, i).split(".")[0];
  }
  return { quote, text: quote ? before.slice(start + 1) : "", call: calls[calls.length - 1], keyword: /where\s*=\s*["']?[^,]*$/.test(before) };
}

const option = (text, detail, insert = text, back = 0) => ({ text, detail, insert, back });

function insideQuote(known, { text, call }) {
  if (call?.name === "segment") return [text, known.segments.map((name) => option(name, known.said.segment))];
  if (call?.name === "score") return [text, known.scores.map((name) => option(name, known.said.score))];
  if (!call) {
    return [text, []];
  }
  if (call.arguments > 0) return [text, ["1d", "7d", "30d", "90d", "365d"].map((span) => option(span, known.said.window))];
  const [event, property] = text.split(".");
  if (property !== undefined)
    return [property, (known.properties[event] ?? []).map((name) => option(name, event))];
  return [text, Object.entries(known.events).map(([name, n]) => option(name, n))];
}

// { from, options, begun }: from where the text before the cursor is replaced, by what, and whether a word is begun.
// `awaits`: the text says what is awaited.
export function completions(known, text, cursor, awaits) {
  const before = text.slice(0, cursor);
  const place = around(before);
  let word, options;
  if (place.quote && !place.keyword) [word, options] = insideQuote(known, place);
  else {
    word = before.match(WORD)?.[0] ?? "";
    const compared = before.slice(0, before.length - word.length).match(/(\w+)\s*(?:==|!=)\s*["']?$/)?.[1];
    const values = compared && known.attributes[compared]?.values;
    if (values) options = values.map((value) => option(JSON.stringify(value), compared));
    else if (place.call && MESSAGES.includes(place.call.name)) options = known.sends.map((name) => option(name, known.said.send));
    else {
      const properties = place.keyword ? (known.properties[place.call?.event] ?? []) : [];
      const entry = word.startsWith("entry.") ? known.entry.map((name) => option(`entry.${name}`, known.said.entry)) : [];
      options = [
        ...properties.map((name) => option(name, place.call.event)),
        ...entry,
        ...(awaits ? Object.entries(known.events).map(([name, n]) => option(name, n)) : []),
        ...Object.entries(known.attributes).map(([name, { kind }]) => option(name, kind)),
        ...known.functions.filter((one) => !awaits || one.awaited).map(({ name, form, says }) => option(form, says, `${name}(`)),
        ...(awaits ? [] : ["and", "or", "not", "in", "true", "false"].map((name) => option(name, ""))),
      ];
    }
  }
  const low = word.toLowerCase();
  const fits = options.filter((one) => one.text.toLowerCase().includes(low) && one.text !== word);
  fits.sort((a, b) => b.text.toLowerCase().startsWith(low) - a.text.toLowerCase().startsWith(low));
  return { from: cursor - word.length, begun: word !== "" || (place.quote !== "" && !place.keyword), options: fits.slice(0, 40) };
}
