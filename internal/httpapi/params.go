package httpapi

import (
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/muster-mdm/muster/internal/fleet"
)

// optional is a query parameter that may be absent.
type optional[T any] struct {
	Value T
	IsSet bool
}

// Schema is the value's own.
func (o optional[T]) Schema(r huma.Registry) *huma.Schema {
	return huma.SchemaFromType(r, reflect.TypeFor[T]())
}

// Receiver is where huma parses to.
func (o *optional[T]) Receiver() reflect.Value { return reflect.ValueOf(o).Elem().Field(0) }

// OnParamSet tells whether the parameter was there.
func (o *optional[T]) OnParamSet(isSet bool, _ any) { o.IsSet = isSet }

// noInput is the input of operations without any.
type noInput struct{}

// IDInput names an object by its numeric id.
type IDInput struct {
	ID int64 `path:"id" minimum:"1" doc:"Numeric id"`
}

// body wraps what is answered as JSON.
type body[T any] struct{ Body T }

func reply[T any](v T) *body[T] { return &body[T]{Body: v} }

// PageInput are the parameters of every list. Embedded inputs are exported
// because huma looks into no others.
type PageInput struct {
	Page           int    `query:"page" minimum:"0" doc:"Page number, from 0"`
	PerPage        int    `query:"per_page" minimum:"0" doc:"Rows in a page; as many as the server allows unless given"`
	OrderKey       string `query:"order_key" maxLength:"64" doc:"Field to sort by"`
	OrderDirection string `query:"order_direction" enum:"asc,desc" doc:"asc unless given"`
	After          string `query:"after" maxLength:"255" doc:"Go on after this value of order_key instead of by page"`
}

// NumberedInput are the parameters of a list that has one order.
type NumberedInput struct {
	Page    int `query:"page" minimum:"0" doc:"Page number, from 0"`
	PerPage int `query:"per_page" minimum:"0" doc:"Rows in a page; as many as the server allows unless given"`
}

// maxPageNumber keeps offsets far from overflow.
const maxPageNumber = 1_000_000

// page turns the parameters into fleet's, within the server's limit.
func (a *api) page(in PageInput) (fleet.Page, error) {
	size := in.PerPage
	if size == 0 {
		size = a.pageSize
	}
	if size > a.pageSize {
		return fleet.Page{}, fleet.FieldErrorf(fleet.KindBadRequest, "per_page", "must be at most %d on this server", a.pageSize)
	}
	if in.Page > maxPageNumber {
		return fleet.Page{}, fleet.FieldErrorf(fleet.KindBadRequest, "page", "must be at most %d", maxPageNumber)
	}
	return fleet.Page{Number: in.Page, Size: size, OrderKey: in.OrderKey, Desc: in.OrderDirection == "desc", After: in.After}, nil
}

// splitComma reads a comma list without empty items.
func splitComma(text string) []string {
	var out []string
	for _, item := range strings.Split(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}
