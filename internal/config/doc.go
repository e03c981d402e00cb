// Package config holds the process configuration: one struct, filled from
// flags over MUSTER_* environment variables over a YAML file over defaults.
//
// One table (Settings) names every setting with its default and help. The
// flags, the environment names, the YAML keys, the output of "muster config
// check" and the table in the README all come from it. Unknown YAML keys and
// unknown MUSTER_* variables are errors that name the nearest known name.
//
// A secret may be given directly or through a file (MUSTER_X_FILE, x_file:)
// and never prints. What people change while the server runs is not here but
// in fleet.Settings.
package config
