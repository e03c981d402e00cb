package store

import (
	"database/sql"

	"github.com/muster-mdm/muster/internal/fleet"
)

const packageSelect = "SELECT id, team_id, name, identifier, product_version, size, sha256, token, created_at FROM bootstrap_packages"

func scanPackage(rows *sql.Rows) (fleet.BootstrapPackage, error) {
	var p fleet.BootstrapPackage
	var sum []byte
	var at int64
	err := rows.Scan(&p.ID, &p.TeamID, &p.Name, &p.Identifier, &p.Version, &p.Size, &sum, &p.Token, &at)
	copy(p.SHA256[:], sum)
	p.CreatedAt = timeOf(at)
	return p, err
}
