package client

import (
	"context"
	"net/http"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// RefetchHost asks a host for its vitals, software and certificates; 409 when
// it is not enrolled.
func (c *Client) RefetchHost(ctx context.Context, id int64) error {
	return c.do(ctx, request{method: http.MethodPost, path: prefix + "/hosts/" + itoa(id) + "/refetch"})
}

// vitalsPage is how many entries of a host's lists are read at once.
const vitalsPage = 500

// AllHostSoftware walks the software of a host.
func (c *Client) AllHostSoftware(ctx context.Context, id int64, each func(apiv1.HostSoftware) error) error {
	return walk(func(page int) (bool, error) {
		var out apiv1.HostSoftwareResponse
		if err := c.get(ctx, prefix+"/hosts/"+itoa(id)+"/software", pageOf(page, vitalsPage), &out); err != nil {
			return false, err
		}
		return out.Meta.HasNextResults, eachOf(out.Software, each)
	})
}

// AllSoftware walks the software of all hosts.
func (c *Client) AllSoftware(ctx context.Context, query string, each func(apiv1.SoftwareVersion) error) error {
	return walk(func(page int) (bool, error) {
		var out apiv1.SoftwareVersionsResponse
		v := pageOf(page, vitalsPage)
		if query != "" {
			v.Set("query", query)
		}
		if err := c.get(ctx, prefix+"/software/versions", v, &out); err != nil {
			return false, err
		}
		return out.Meta.HasNextResults, eachOf(out.Software, each)
	})
}

// AllHostCertificates walks the certificates of a host.
func (c *Client) AllHostCertificates(ctx context.Context, id int64, each func(apiv1.HostCertificate) error) error {
	return walk(func(page int) (bool, error) {
		var out apiv1.HostCertificatesResponse
		if err := c.get(ctx, prefix+"/hosts/"+itoa(id)+"/certificates", pageOf(page, vitalsPage), &out); err != nil {
			return false, err
		}
		return out.Meta.HasNextResults, eachOf(out.Certificates, each)
	})
}

func eachOf[T any](list []T, each func(T) error) error {
	for _, v := range list {
		if err := each(v); err != nil {
			return err
		}
	}
	return nil
}
