// A browser: opens an address, keeps cookies, follows redirects, sends the forms that it is shown, and prints the last
// page. `--refuse` presses the button that says no.

const [address, refuse] = process.argv.slice(2);
const cookies = new Map();

async function open(url, form) {
  const headers = { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') };
  const method = form ? 'POST' : 'GET';
  const response = await fetch(url, { method, headers, body: form, redirect: 'manual' });
  for (const cookie of response.headers.getSetCookie()) {
    const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie);
    if (value) cookies.set(name, value);
    else cookies.delete(name);
  }
  const location = response.headers.get('location');
  return location ? open(new URL(location, url)) : { url, page: await response.text() };
}

function formOf(page) {
  const form = /<form[^>]*action="([^"]*)"[^>]*>([\s\S]*?)<\/form>/.exec(page);
  if (!form) return null;
  const fields = new URLSearchParams();
  for (const [input] of form[2].matchAll(/<input[^>]*>/g)) {
    fields.set(/name="([^"]*)"/.exec(input)[1], /value="([^"]*)"/.exec(input)?.[1] ?? '');
  }
  if (refuse && fields.has('confirm')) {
    fields.delete('confirm');
    fields.set('abort', 'yes');
  }
  return { action: form[1], fields };
}

let { url, page } = await open(address);
for (let form = formOf(page); form; form = formOf(page)) {
  ({ url, page } = await open(new URL(form.action, url), form.fields));
  if (form.fields.has('abort')) break;
}
console.log(page);
