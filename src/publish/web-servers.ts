/** What makes web servers name the manifests that lie beside their files. Text to paste; nothing here is run. */

const LINK = 'rel="describedby"; type="application/vnd.shorthaul.manifest"'

/** The path as the client sent it, so that it is a URL reference as it stands. */
const NGINX = `# nginx: in http { }
map $request_uri $shorthaul_path {
    "~^(?<shorthaul_raw>[^?#<> ]+)"  $shorthaul_raw;
}

# and in the location that serves the files
set $shorthaul_link "";
if (-f $request_filename.shorthaul-manifest) {
    set $shorthaul_link '<$shorthaul_path.shorthaul-manifest>; ${LINK}';
}
add_header Link $shorthaul_link;`

const APACHE = `# Apache 2.4.10 or later, with mod_rewrite and mod_headers: in <Directory> or .htaccess
AddType application/vnd.shorthaul.manifest .shorthaul-manifest
RewriteEngine On
RewriteCond %{REQUEST_FILENAME}.shorthaul-manifest -f
RewriteCond %{THE_REQUEST} "^[A-Z]+ ([^?#<> ]+)"
RewriteRule ^ - [E=SHORTHAUL_PATH:%1]
Header set Link "<%{SHORTHAUL_PATH}e.shorthaul-manifest>; rel=\\"describedby\\"; type=\\"application/vnd.shorthaul.manifest\\"" env=SHORTHAUL_PATH`

const CADDY = `# Caddy 2: in the site block, beside file_server; for names without spaces and percent signs
@shorthaul file {path}.shorthaul-manifest
header @shorthaul Link \`<{path}.shorthaul-manifest>; ${LINK}\``

export const WEB_SERVER_SNIPPETS: Readonly<Record<'nginx' | 'apache' | 'caddy', string>> = {
  nginx: NGINX,
  apache: APACHE,
  caddy: CADDY,
}
